// The section "What it learned": the templates, their signs, and the replay of the training.

const sign = byId("sign"), slider = byId("moment"), play = byId("play");
const sketch = Object.assign(document.createElement("canvas"), { width: data.picture[0].length, height: data.picture.length });

/** A weight less the mean of its feature over the classes: what is the same for all of them decides nothing. */
function centredWeight(weights, n, k) {
  let sum = 0;
  for (let l = 0; l < classes; l++) sum += weights[n * classes + l];
  return weights[n * classes + k] - sum / classes;
}

function paintTemplates(valueOf) {
  each("[data-template]", (image, k) => {
    paintSigned(sketch, n => valueOf(n, k), data.scale);
    image.src = sketch.toDataURL();
  });
}

function showTemplates(weights) {
  paintTemplates((n, k) => centredWeight(weights, n, k));
}

/** Paint again what is in the colours of for and against. */
function repaint() {
  showDuel();
  if (slider) showMoment(); else showTemplates(W);
}

/** Show the weights as they are now, the end of the replay. */
function showEnd() {
  if (slider) {
    pause();
    slider.value = slider.max;
  }
  repaint();
}

sign.addEventListener("change", repaint);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);

// The replay --------------------------------------------------------------------------------------------------

const PAUSE = 350; // milliseconds between two moments
const levels = data.moments && new Int8Array(
  Uint8Array.from(atob(data.moments.weights), character => character.charCodeAt(0)).buffer);
let timer = null;

function showMoment() {
  const at = Number(slider.value), last = data.moments.figures.length - 1;
  const { rows, epochs, loss, accuracy } = data.moments.figures[at];
  const start = at * (trained.length - classes), { step } = data.moments;
  if (at === last) showTemplates(W); else paintTemplates((n, k) => step * levels[start + n * classes + k]);
  const part = epochs < 10 ? Number(epochs.toPrecision(2)) : Number(epochs.toFixed(1));
  const when = rows === 0 ? "At the start, all weights are 0"
    : `After ${rows.toLocaleString("en")} rows, ${part} ${part === 1 ? "epoch" : "epochs"}`;
  byId("figures").textContent = `${when}: loss ${loss.toFixed(4)}, accuracy ${percent(accuracy)}.`
    + (at === last && stepsMade ? " (The templates below are of the weights that you changed.)" : "");
  slider.setAttribute("aria-valuetext", byId("figures").textContent);
  const line = document.querySelector(".now");
  line.setAttribute("transform", `translate(${(at / Math.max(last, 1) - 1) * line.dataset.width} 0)`);
}

function pause() {
  clearTimeout(timer);
  timer = null;
  play.textContent = "Watch it learn";
}

function next() {
  slider.value = Number(slider.value) + 1;
  showMoment();
  if (slider.value === slider.max) pause(); else timer = setTimeout(next, PAUSE);
}

if (slider) {
  play.addEventListener("click", () => {
    if (timer !== null) return pause();
    slider.value = slider.value === slider.max ? 0 : slider.value;
    play.textContent = "Pause";
    showMoment();
    timer = setTimeout(next, PAUSE);
  });
  slider.addEventListener("input", () => { pause(); showMoment(); });
  showMoment();
}
