// The photograph and its stylizations on the stage, one view for each model, with one divider for all.

const GAP_PX = 16, CAPTION_PX = 58; // as in page.css
const stage = document.querySelector("#stage"), views = document.querySelector("#views");
let share = 0; // of the photograph that is shown, in percent

export function view(input, photograph) { // of the model that the input stands for
  const there = [...views.children].find((each) => each.dataset.model === input.value);
  if (there) return there;
  const made = document.querySelector("#view").content.cloneNode(true).firstElementChild;
  const part = (selector) => made.querySelector(selector), text = (selector) => input.parentElement.querySelector(selector).textContent;
  made.dataset.model = input.value;
  part(".photograph").src = photograph.url;
  part("b").textContent = text(".style");
  part(".norm").textContent = text(".norm");
  part(".held-out").textContent = input.dataset.heldOut;
  part(".download").title = `${input.value}, in full size`;
  const split = part(".split");
  split.setAttribute("aria-label", `Photograph beside ${text(".style")}, ${text(".norm")}`);
  split.addEventListener("input", () => divide(split.value));
  return made;
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
