// A picture from the camera.

const dialog = document.querySelector("dialog"), video = dialog.querySelector("video");
let stream = null;

export async function startCamera() {
  stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment", width: {ideal: 1920}}});
  video.srcObject = stream;
  dialog.showModal();
}

export async function takePicture() {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  dialog.close();
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));
  return new File([blob], "camera.jpg", {type: blob.type});
}

dialog.querySelector(".cancel").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()));
