// The photograph and its stylizations on the stage, one view for each model, with one divider for all.

const GAP_PX = 16, CAPTION_PX = 58; // as in page.css
const stage = document.querySelector("#stage"), views = document.querySelector("#views");
let share = 0; // of the photograph that is shown, in percent

export function view(input, shares, photograph) { // of the model that the input stands for, as it is mixed
  const shown = [...views.children].find((each) => each.dataset.model === input.value) ?? made(input, photograph);
  const part = (selector) => shown.querySelector(selector), mixed = shares.length > 1, [first] = shares;
  const style = mixed ? shares.map(({style, percent}) => `${style} ${percent} %`).join(", ") : first.style;
  const norm = first.input.parentElement.querySelector(".norm")?.textContent ?? "";
  shown.classList.toggle("mixed", mixed);
  part("b").textContent = part(".what").title = style;
  part(".norm").textContent = norm;
  part(".held-out").textContent = mixed ? "" : first.input.dataset.heldOut;
  part(".download").title = `${style}, in full size`;
  part(".split").setAttribute("aria-label", `Photograph beside ${[style, norm].filter(Boolean).join(", ")}`);
  return shown;
}

function made(input, photograph) {
  const shown = document.querySelector("#view").content.cloneNode(true).firstElementChild;
  shown.dataset.model = input.value;
  if ("paintsStrength" in input.dataset) shown.style.setProperty("--strength", 1); // it comes as strong as was asked
  shown.querySelector(".photograph").src = photograph.url;
  const split = shown.querySelector(".split");
  split.addEventListener("input", () => divide(split.value));
  return shown;
}

export function place(shown, photograph) {
  views.replaceChildren(...shown);
  stage.classList.toggle("many", shown.length > 1);
  divide(share);
  arrange(photograph);
}

export async function show(shown, url) {
  const image = shown.querySelector(".stylized");
  image.src = url;
  await image.decode().catch(() => {}); // superseded meanwhile
  image.alt = `Repainted: ${shown.querySelector(".what").textContent}`;
  image.hidden = false;
  shown.querySelector(".progress").hidden = true;
  shown.querySelector(".download").disabled = false;
}

export function divide(percent) {
  share = percent;
  stage.style.setProperty("--split", `${share}%`);
  for (const split of views.querySelectorAll(".split")) {
    split.value = share;
    split.setAttribute("aria-valuetext", `${share} % photograph`);
  }
}

export function reveal() { // draw the stylization over the photograph
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return divide(0);
  const begun = performance.now();
  const step = (now) => {
    const done = Math.min(1, Math.max(0, (now - begun) / 900));
    divide(Math.round(100 * (1 - done) ** 3));
    if (done < 1) requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

export function arrange(photograph) { // in as many columns as make the pictures largest
  const num = views.childElementCount, narrow = matchMedia("(max-width: 800px)").matches;
  const {width, height} = views.getBoundingClientRect(), room = narrow ? (num > 1 ? 0.9 : 0.6) * innerHeight : height;
  const widths = Array.from({length: narrow ? Math.min(num, 2) : num}, (_, index) => {
    const columns = index + 1, rows = Math.ceil(num / columns);
    const across = (width - GAP_PX * (columns - 1)) / columns, down = (room - GAP_PX * (rows - 1)) / rows - CAPTION_PX;
    return Math.min(across, down * photograph.ratio);
  });
  stage.style.setProperty("--ratio", photograph.ratio);
  stage.style.setProperty("--width", `${Math.floor(Math.max(80, ...widths))}px`);
}
