// One photograph, repainted by the chosen models: what the controls do.

import {startCamera, takePicture} from "./camera.js";
import {offerMix, settleMix, shares} from "./mix.js";
import {Previews, decoded, stylize} from "./requests.js";
import {arrange, divide, place, reveal, show, view} from "./views.js";

const STROKES = [["finest", 0.5], ["fine", 0.7], ["medium", 1], ["broad", 1.5], ["broadest", 2]]; // scale
const FORMATS = document.body.dataset.formats; // a file of unknown type is left to the server
const HINTS = {
  "": "The colours are those of the style.",
  luminance: "The photograph's own colours; only lightness is repainted.",
  matched: "The photograph's palette: the mean and spread of its colours.",
};

const $ = (selector, within = document) => within.querySelector(selector);
const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
const inputs = () => $$("[name=model]");
const chosen = () => inputs().filter((input) => input.checked);
const asked = (input, strength = "paintsStrength" in input.dataset ? $("#strength").value / 100 : 1, mix = shares(input)) => ({
  model: mix[0].input.value,
  mix: mix.length > 1 ? mix.map((share) => `${share.input.value}=${share.part}`).join() : "",
  strength,
  keep_colors: $("[name=keep_colors]:checked").value,
  scale: STROKES[$("#strokes").value][1],
});

let photograph = null; // {file, url, ratio, previews, isNew}
let num_opened = 0, num_refreshed = 0; // what is overtaken by the next stops

async function open(file) {
  if (!file) return;
  tell("");
  if (file.type && !file.type.startsWith("image/")) return tell(`${file.name} is not a picture: choose a ${FORMATS} file.`);
  if (file.size > document.body.dataset.maxBytes) return tell(`${file.name} is larger than the server takes.`);
  say("Reading the picture");
  const turn = ++num_opened;
  let image;
  try {
    image = await decoded(file, asked(chosen()[0]));
  } catch (error) {
    return fail(error);
  }
  if (turn !== num_opened) return URL.revokeObjectURL(image.src);
  if (photograph) {
    photograph.previews.drop();
    URL.revokeObjectURL(photograph.url);
  }
  photograph = {
    file,
    url: image.src,
    ratio: image.naturalWidth / image.naturalHeight,
    previews: new Previews(file),
    isNew: true,
  };
  $("#empty").hidden = true;
  $("#views").hidden = false;
  $("#views").replaceChildren();
  divide(100);
  await refresh();
}

async function refresh() {
  if (!photograph) return;
  const turn = ++num_refreshed, {previews} = photograph;
  const wanted = chosen().map((input) => ({input, fields: asked(input), shown: shownFor(input)}));
  previews.supersede(wanted.map(({fields}) => fields));
  place(wanted.map(({shown}) => shown), photograph);
  for (const {shown} of wanted) $(".progress", shown).hidden = false;
  tell("");
  say("Repainting");
  for (const {fields, shown} of wanted) {
    try {
      const url = await previews.of(fields);
      if (turn !== num_refreshed) return;
      await show(shown, url);
    } catch (error) {
      if (turn === num_refreshed) fail(error);
      return;
    }
    if (photograph.isNew) reveal();
    photograph.isNew = false;
  }
  say(`Repainted with ${wanted.map(({shown}) => $(".what", shown).textContent.trim()).join(", ")}`);
}

function shownFor(input) {
  const shown = view(input, shares(input), photograph), button = $(".download", shown);
  button.onclick = () => download(input, button);
  return shown;
}

async function download(input, button) {
  if (button.controller) return button.controller.abort();
  const {file} = photograph, name = (file.name || "picture").replace(/\.[^.]*$/, "");
  button.controller = new AbortController();
  button.classList.add("busy");
  $("span", button).textContent = "Cancel";
  say("Repainting in full size");
  try {
    const fields = asked(input, $("#strength").value / 100), mix = shares(input);
    const style = mix.map(({input: {value}, percent}) => (mix.length > 1 ? `${value}-${percent}` : value)).join("-");
    const blob = await stylize(file, fields, button.controller.signal);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name}-${style}.${blob.type.split("/")[1].replace("jpeg", "jpg")}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say(`Downloaded ${link.download}`);
  } catch (error) {
    fail(error);
  } finally {
    button.controller = null;
    button.classList.remove("busy");
    $("span", button).textContent = "Download";
  }
}

function say(message) { $("#status").textContent = message; }

function tell(message) {
  $("#error").textContent = message;
  $("#error").hidden = !message;
}

function fail(error) {
  if (error.name === "AbortError") return say("Cancelled");
  for (const progress of $$(".progress")) progress.hidden = true;
  tell(error instanceof TypeError ? "The server does not answer: is it still running?" : error.message);
}

function compare(many) {
  const kept = many && inputs().length <= 4 ? inputs() : chosen().slice(0, 1);
  for (const input of inputs()) {
    input.checked = false; // of radio buttons, one that comes checked unchecks the others
    input.type = many ? "checkbox" : "radio";
  }
  for (const input of kept) input.checked = true;
}

function offer() { // a mixture of what one model can mix
  $("#mix").hidden = $("#compare")?.checked || !chosen()[0].dataset.mixesWith;
  if ($("#mix").hidden) $("#mixing").checked = false;
  offerMix(chosen()[0], $("#mixing").checked);
}

function settle() { // what the controls say beside themselves
  const strength = $("#strength"), strokes = $("#strokes");
  for (const slider of [strength, strokes]) slider.style.setProperty("--share", `${(100 * slider.value) / slider.max}%`);
  $("#stage").style.setProperty("--strength", strength.value / 100);
  $("output[for=strength]").textContent = `${strength.value} %`;
  $("output[for=strokes]").textContent = STROKES[strokes.value][0];
  strokes.setAttribute("aria-valuetext", STROKES[strokes.value][0]);
  $("#hint").textContent = HINTS[$("[name=keep_colors]:checked").value];
}

for (const button of $$(".choose")) button.addEventListener("click", () => $("#file").click());
$("#file").addEventListener("change", ({target}) => {
  open(target.files[0]);
  target.value = ""; // the same one may be chosen again
});
$("#sample").addEventListener("click", async () => {
  const blob = await (await fetch("sample.jpg")).blob();
  open(new File([blob], "sample.jpg", {type: blob.type}));
});
for (const button of $$(".camera")) {
  button.hidden = !navigator.mediaDevices; // browsers give it to this machine's pages and to https alone
  button.addEventListener("click", () => startCamera().catch((error) => tell(`No camera: ${error.message}`)));
}
$(".take").addEventListener("click", async () => open(await takePicture()));

addEventListener("paste", (event) => open(event.clipboardData.files[0]));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", ({relatedTarget}) => {
  if (!relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  open(event.dataTransfer.files[0]);
});

$("#controls").addEventListener("submit", (event) => event.preventDefault());
$("#controls").addEventListener("input", settle);
$("#controls").addEventListener("change", ({target}) => {
  if (target.id === "compare") compare(target.checked);
  if (target.name === "model" && !chosen().length) target.checked = true; // one at least
  if (target.name === "model" || target.matches("[role=switch]")) offer();
  if (target.id !== "strength" || chosen().some(({dataset}) => "paintsStrength" in dataset)) refresh();
});
$("#shares").addEventListener("input", ({target}) => settleMix(target));
new ResizeObserver(() => photograph && arrange(photograph)).observe($("#stage"));
settle();
offer();
