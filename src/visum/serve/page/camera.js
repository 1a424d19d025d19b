// A picture from the webcam. The stream is stopped whenever the dialog closes, whichever way.

import { $, show } from "./dom.js";

const REASONS = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it in the bar with the address, then try again.",
  NotFoundError: "No camera was found. Plug one in, or choose a file.",
  NotReadableError: "The camera is in use by another program. Close that one, then try again.",
};

/** Shows the button where a camera can be had, and calls `take([file])` with what was taken. */
export function camera(take) {
  if (!navigator.mediaDevices?.getUserMedia) return; // browsers offer it on localhost and over https only
  const booth = $("booth");
  const video = $("video");
  let facing = "environment";
  let stream = null;

  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    video.srcObject = null;
  };

  const start = async () => {
    stop();
    $("snap").disabled = true;
    show($("booth-trouble"), false);
    try {
      const wanted = { facingMode: facing, width: { ideal: 1920 }, height: { ideal: 1080 } };
      const got = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
      if (!booth.open) return got.getTracks().forEach((track) => track.stop()); // closed while the browser asked
      stream = got;
      video.srcObject = stream;
      await video.play();
      $("snap").disabled = false;
      $("snap").focus();
      const devices = await navigator.mediaDevices.enumerateDevices();
      show($("turn"), devices.filter((device) => device.kind === "videoinput").length > 1);
    } catch (fault) {
      if (!booth.open) return;
      stop();
      $("booth-trouble").textContent = REASONS[fault.name] ?? `The camera does not start: ${fault.message}`;
      show($("booth-trouble"));
    }
  };

  const snap = () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    canvas.toBlob(
      (blob) => {
        booth.close();
        take([new File([blob], "camera.jpg", { type: "image/jpeg" })]);
      },
      "image/jpeg",
      0.95,
    );
  };

  show($("camera"));
  $("camera").addEventListener("click", () => {
    booth.showModal();
    start();
  });
  $("snap").addEventListener("click", snap);
  $("turn").addEventListener("click", () => {
    facing = facing === "environment" ? "user" : "environment";
    start();
  });
  $("leave").addEventListener("click", () => booth.close());
  booth.addEventListener("close", stop);
}
