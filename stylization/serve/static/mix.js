// The shares of a model's styles, by sliders.

const list = document.querySelector("#shares"), template = document.querySelector("#share");
const sliders = () => [...list.querySelectorAll("input")];
const card = (slider) => document.querySelector(`[name=model][value="${slider.name}"]`);
const textOf = (input) => input.parentElement.querySelector(".style").textContent;

export function offerMix(input, isWanted) { // a slider for each style that goes with the input's, at first it alone
  const names = [input.value, ...input.dataset.mixesWith.split(" ")];
  const inputs = isWanted ? [...document.querySelectorAll("[name=model]")].filter(({value}) => names.includes(value)) : [];
  list.replaceChildren(...inputs.map((each) => row(each, each === input)));
  settleMix();
}

function row(input, isWhole) {
  const made = template.content.cloneNode(true).firstElementChild, part = (selector) => made.querySelector(selector);
  const slider = part("input");
  slider.id = part("label").htmlFor = `share-${input.value}`;
  slider.name = input.value;
  slider.value = isWhole ? slider.max : 0;
  part("img").src = input.parentElement.querySelector("img").src;
  part("label").textContent = textOf(input);
  return made;
}

export function settleMix(moved) { // what the sliders say beside themselves
  const sum = () => sliders().reduce((total, {value}) => total + Number(value), 0);
  if (moved && !sum()) moved.value = 1; // something at least
  for (const slider of sliders()) {
    const percent = `${Math.round((100 * slider.value) / sum())} %`;
    slider.style.setProperty("--share", `${(100 * slider.value) / slider.max}%`);
    slider.setAttribute("aria-valuetext", percent);
    slider.parentElement.querySelector("output").textContent = percent;
    slider.parentElement.classList.toggle("none", slider.value === "0");
  }
}

export function shares(input) { // of the mixture, the largest first; without one the input's style is all
  const there = sliders().filter(({value}) => value > 0).sort((a, b) => b.value - a.value);
  if (!there.length) return [{input, style: textOf(input), part: 1, percent: 100}];
  const total = there.reduce((sum, {value}) => sum + Number(value), 0);
  return there.map((slider) => {
    const part = slider.value / total;
    return {input: card(slider), style: textOf(card(slider)), part: part.toFixed(4), percent: Math.round(100 * part)};
  });
}
