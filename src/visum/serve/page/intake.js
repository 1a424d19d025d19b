// Ways for pictures to come in: chosen, dropped, pasted.

import { $ } from "./dom.js";

const dragsFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");

/** Calls `take(files)` with one or more files, and `refuse(what, next)` where something else was dropped. */
export function intake(take, refuse) {
  const give = (files) => files.length && take([...files]);

  $("drop").addEventListener("click", () => $("files").click());
  $("files").addEventListener("change", () => {
    give([...$("files").files]);
    $("files").value = ""; // so that the same file can be chosen again
  });

  let depth = 0; // dragenter and dragleave come for every element on the way
  const over = (by) => {
    depth = by === 0 ? 0 : Math.max(0, depth + by);
    document.body.classList.toggle("over", depth > 0);
  };
  document.addEventListener("dragenter", (event) => dragsFiles(event) && over(1));
  document.addEventListener("dragleave", (event) => dragsFiles(event) && over(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault(); // or the browser would open the file in place of this page
    over(0);
    const files = event.dataTransfer?.files ?? [];
    if (files.length) give(files);
    else refuse("That was an address or a text, and no file", "Save the picture first, or copy it and paste it here.");
  });

  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) {
      event.preventDefault();
      give(files);
    } else if (!(event.target instanceof HTMLInputElement)) {
      refuse("There is no picture in what was pasted", "Copy a picture, not its address, and paste again.");
    }
  });
}
