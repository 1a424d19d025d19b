"""Peer: the plain handler that everyone writes: FastAPI, Pillow, an eager PyTorch network, one picture a request."""

from __future__ import annotations

import io
import sys

import torch
import uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from timm_loader import network
from torchvision import transforms

STEPS = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
)
app, net = FastAPI(), network()


def answer(data: bytes) -> dict[str, object]:
    with torch.inference_mode():
        p = net(STEPS(Image.open(io.BytesIO(data)).convert("RGB"))[None]).softmax(1)[0]
    best = p.topk(5)
    found = zip(best.values.tolist(), best.indices.tolist(), strict=True)
    return {"predictions": [{"class": k, "probability": q} for q, k in found]}


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    return await run_in_threadpool(answer, await request.body())


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
