// The section "Draw one yourself": the canvas, the answer, the comparison of two classes, and the learning step.

const data = JSON.parse(document.getElementById("data").textContent);
const classes = data.names.length, most = classes > 12 ? 5 : classes;
const trained = Float64Array.from(new Float32Array(
  Uint8Array.from(atob(data.weights), character => character.charCodeAt(0)).buffer));
const byId = id => document.getElementById(id);
const each = (selector, action) => document.querySelectorAll(selector).forEach(action);
const signed = (value, digits = 2) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
const percent = fraction => fraction > 0.99995 ? "> 99.99 %" : fraction < 0.00005 ? "< 0.01 %" : (100 * fraction).toFixed(2) + " %";
const argmax = values => values.indexOf(Math.max(...values));
let W = trained, stepsMade = 0;

/** Say something to a screen reader: the only live region, so that it hears of each action once. */
function announce(text) { byId("said").textContent = text; }

// From a picture to an answer ---------------------------------------------------------------------------------

/** The features of an image of the data, and what it is after each step: {stages, features}. */
function prepared(image) {
  const stages = [image];
  let features = image;
  for (const step of data.features) {
    features = STEPS[step](image, data.height, data.width);
    stages.push(features);
    if (step !== "directions") image = features;
  }
  return { stages, image, features };
}

/** What the model says of an image of the data. `image` is after the steps that make images. */
function answerTo(pixels) {
  const found = prepared(pixels);
  const F = logits(found.features, W, classes);
  const probabilities = logSoftmax(F).map(Math.exp);
  return { ...found, F, probabilities, label: argmax(F) };
}

/** What the model says of a picture, or null if there is no digit. */
function read(grey, pictureHeight, pictureWidth) {
  const normalized = normalize(grey, pictureHeight, pictureWidth, data.height, data.width);
  return normalized && { ...answerTo(normalized.image), inverted: normalized.inverted };
}

// For the console, and for the tests that compare these with the program.
window.mnistSoftmax = { normalize, deskew, directions, gradient, read, weights: () => W };

// Pictures ----------------------------------------------------------------------------------------------------

const places = data.picture.flat(); // which feature each pixel of a picture shows, -1 for none

function paint(target, colourOf) {
  const context = target.getContext("2d");
  const picture = context.createImageData(target.width, target.height);
  for (let n = 0; n < target.width * target.height; n++) picture.data.set(colourOf(n), 4 * n);
  context.putImageData(picture, 0, 0);
}

/** Signed values of the features: orange above 0, blue below, at full strength from `scale` on. */
function paintSigned(target, valueOf, scale) {
  const style = getComputedStyle(document.documentElement); // colours of a light or a dark page
  const [orange, blue] = ["--for-rgb", "--against-rgb"].map(name => style.getPropertyValue(name).trim().split(" "));
  const sign = Number(byId("sign").value);
  paint(target, n => {
    const value = places[n] < 0 ? 0 : valueOf(places[n]);
    return [...(value > 0 ? orange : blue), value * sign < 0 ? 0 : 255 * Math.min(Math.abs(value) / (scale || 1), 1)];
  });
}

const largest = values => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

// The canvas --------------------------------------------------------------------------------------------------

const canvas = byId("draw");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const SIDE = canvas.width, PEN_WIDTH = SIDE / 13, SMALL = 0.35 * SIDE;
const hint = document.querySelector(".hint"), cursor = document.querySelector(".cursor");
let answer = null, row = null, waiting = false; // `row` is the image of the data on the canvas, if it is one

function clear() {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, SIDE, SIDE);
  pen.lineWidth = PEN_WIDTH;
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = pen.fillStyle = "#fff";
  hint.hidden = false;
  forgetRow();
}

function forgetRow() {
  row = null;
  for (const name of ["row", "label", "predicted"]) delete canvas.dataset[name];
}

function stroke(from, to) {
  hint.hidden = true;
  forgetRow();
  pen.beginPath();
  if (from.x === to.x && from.y === to.y) { // a line without length draws nothing
    pen.arc(from.x, from.y, PEN_WIDTH / 2, 0, 2 * Math.PI);
    pen.fill();
    return;
  }
  pen.moveTo(from.x, from.y);
  pen.lineTo(to.x, to.y);
  pen.stroke();
}

/** The canvas as grey levels; colours are weighted as in ITU-R 601-2, with Pillow's integers. */
function greyOfCanvas() {
  const { data: rgba } = pen.getImageData(0, 0, SIDE, SIDE);
  const grey = new Uint8Array(SIDE * SIDE);
  for (let i = 0; i < grey.length; i++) {
    grey[i] = (rgba[4 * i] * 19595 + rgba[4 * i + 1] * 38470 + rgba[4 * i + 2] * 7471 + 32768) >> 16;
  }
  return grey;
}

/** Whether the drawing is so small that the pen is too thick for it. */
function isSmall(grey) {
  let left = SIDE, right = 0, top = SIDE, bottom = 0;
  grey.forEach((level, n) => {
    if (level < 128) return;
    const x = n % SIDE, y = Math.floor(n / SIDE);
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  });
  return Math.max(right - left, bottom - top) < SMALL;
}

function look() {
  const grey = row ? null : greyOfCanvas();
  answer = row ? answerTo(row.pixels) : read(grey, SIDE, SIDE);
  if (answer) answer.small = !row && isSmall(grey);
  showStages();
  showBars();
  showDuel();
  showErrors();
}

/** Look at the next frame: the pen may move many times within one. */
function lookSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; look(); });
}

/** Look, and say the answer; separate from `look`, so that a screen reader hears it once per stroke. */
function say(before = "") {
  look();
  const p = answer && percent(answer.probabilities[answer.label]);
  byId("verdict").textContent = answer ? `Looks like ${data.names[answer.label]}, ${p}` : "Nothing drawn yet";
  byId("truth").textContent = row ? truth()
    : answer && answer.small ? "Draw larger: for so small a drawing the pen is too thick."
    : answer && stepsMade ? "As the weights that you changed read it." : "";
  announce(`${before}${byId("verdict").textContent}. ${byId("truth").textContent}`);
}

function truth() {
  const is = `Row ${row.number} of the ${data.split} images is a ${data.names[row.label]}`;
  if (stepsMade) return `${is}. The weights that you changed ${answer.label === row.label ? "read it right" : "read it wrong"}.`;
  return `${is}: ${row.label === row.predicted ? "right" : "wrong"}.`;
}

function showStages() {
  each("[data-stage]", target => {
    const stage = answer?.stages[target.dataset.stage];
    const edges = data.features[target.dataset.stage - 1] === "directions";
    paint(target, n => [255, 255, 255, stage?.[edges ? places[n] : n] ?? 0]);
  });
  byId("prepared").textContent = (row ? "the image as it is: " : "cropped, scaled, centred: ") + `${data.height} × ${data.width} pixels`;
}

function showBars() {
  const S = answer?.probabilities;
  const rank = S && ranked(S);
  each("[data-class]", (line, k) => {
    line.dataset.probability = S ? S[k] : 0;
    line.classList.toggle("win", Boolean(S) && k === answer.label);
    line.querySelector(".fill").style.width = 100 * (S ? S[k] : 0) + "%";
    line.querySelector(".value").textContent = S ? percent(S[k]) : "–";
    if (most < classes) {
      line.hidden = (S ? rank[k] : k) >= most;
      line.style.order = S ? rank[k] : k;
    }
  });
}

/** The place of each class among all, from 0 for the most probable. */
function ranked(S) {
  const order = [...S.keys()].sort((a, b) => S[b] - S[a]), rank = [];
  order.forEach((k, place) => { rank[k] = place; });
  return rank;
}

// Why the one and not the other -------------------------------------------------------------------------------

const rival = byId("rival");
let rivalChosen = false;

/** x * (W_a - W_b), feature by feature, and the sum that decides. */
function showDuel() {
  if (!answer) {
    paintSigned(byId("spoke"), () => 0, 1);
    for (const id of ["for", "against", "bias", "total"]) byId(id).textContent = "–";
    each("[data-class] button", button => button.removeAttribute("aria-pressed"));
    return;
  }
  const a = answer.label, S = answer.probabilities;
  if (!rivalChosen || Number(rival.value) === a) rival.value = ranked(S).indexOf(1);
  [...rival.options].forEach((option, k) => { option.disabled = k === a; }); // so that arrow keys pass over it
  const b = Math.max(Number(rival.value), 0), count = answer.features.length;
  const spoke = Float64Array.from(answer.features, (x, n) => x / 255 * (W[n * classes + a] - W[n * classes + b]));
  paintSigned(byId("spoke"), n => spoke[n], largest(spoke));
  const total = sign => spoke.reduce((sum, value) => value * sign > 0 ? sum + value : sum, 0);
  const bias = W[count * classes + a] - W[count * classes + b], sum = answer.F[a] - answer.F[b];
  byId("for").textContent = signed(total(1));
  byId("against").textContent = signed(total(-1));
  byId("bias").textContent = signed(bias);
  byId("total").textContent = signed(sum);
  each("[data-winner]", text => { text.textContent = data.names[a]; });
  each("[data-rival]", text => { text.textContent = data.names[b]; });
  each("[data-class] button", (button, k) => button.setAttribute("aria-pressed", k === b));
  const times = Math.exp(sum);
  const odds = times > 1e99 ? "more than 1e+99" : times < 1000 ? times.toPrecision(3) : times < 1e9 ? Math.round(times).toLocaleString("en") : times.toExponential(1);
  byId("odds").textContent = `Softmax only compares: ${data.names[a]} is e^${sum < 1e6 ? sum.toFixed(2) : sum.toExponential(1)} = ${odds} times as probable as ${data.names[b]}, `
    + "whatever the other classes say.";
}

function compareWith(k) {
  rivalChosen = true;
  rival.value = k;
  showDuel();
  if (answer) announce(`${byId("why-title").textContent.replace(/\s+/g, " ").trim()} ${byId("odds").textContent}`);
}

rival.addEventListener("change", () => compareWith(rival.value));
each("[data-class] button", (button, k) => button.addEventListener("click", () => compareWith(k)));

// Learn this one ----------------------------------------------------------------------------------------------

const right = byId("answer"), learn = byId("learn"), unlearn = byId("unlearn");
let rightChosen = false;

/** S, Y and S - Y, and the loss on the image. */
function showErrors() {
  learn.disabled = !answer;
  unlearn.disabled = !stepsMade;
  if (answer && !rightChosen) right.value = row ? row.label : answer.label;
  const k = Number(right.value), rank = answer && ranked(answer.probabilities);
  each("[data-row-of]", (line, l) => {
    const S = answer ? answer.probabilities[l] : 0, Y = Number(l === k), [first, second, third] = line.querySelectorAll("td");
    first.querySelector(".fill").style.width = 100 * S + "%";
    first.querySelector(".value").textContent = answer ? S.toFixed(3) : "–";
    second.textContent = answer ? Y : "–";
    const fill = third.querySelector(".fill");
    fill.classList.toggle("up", S < Y);
    fill.style.width = 50 * Math.abs(S - Y) + "%";
    third.querySelector(".value").textContent = answer ? signed(S - Y, 3) : "–";
    if (most < classes) line.hidden = l !== k && (answer ? rank[l] : l) >= most;
  });
  if (answer) learn.dataset.loss = loss(); else delete learn.dataset.loss;
  byId("loss").textContent = answer ? loss().toFixed(4) : "–";
}

function loss() { return -logSoftmax(answer.F)[Number(right.value)]; }

/** The fraction of the page's rows that the weights read right; the features of the rows are kept. */
let rowFeatures = null;
function accuracyOfRows(weights) {
  rowFeatures ??= data.samples.rows.map((_, i) => prepared(pixelsOf(i)).features);
  const correct = rowFeatures.filter((features, i) => argmax(logits(features, weights, classes)) === data.samples.labels[i]);
  return correct.length / rowFeatures.length;
}

learn.addEventListener("click", async () => {
  if (!answer) return;
  await samples.ready;
  const k = Number(right.value), before = loss(), old = W;
  rightChosen = true;
  const slope = gradient(answer.features, k, W, classes, data.reg);
  W = W.map((w, i) => w - data.lr * slope[i]);
  stepsMade++;
  say();
  byId("loss").textContent = `${before.toFixed(4)} → ${loss().toFixed(4)}`;
  showMoved(k, old);
  showEnd();
  const [was, is] = [accuracyOfRows(trained), accuracyOfRows(W)];
  byId("others").textContent = `Of the ${rowFeatures.length} ${data.split} images in this page the changed weights read ${percent(is)} right, `
    + `before ${percent(was)}. A batch of many images keeps a step from serving only one.`;
  announce(`Loss ${byId("loss").textContent}. ${byId("others").textContent}`);
});

unlearn.addEventListener("click", () => {
  W = trained;
  stepsMade = 0;
  byId("others").textContent = "";
  document.querySelector(".moved").hidden = true;
  learn.focus();
  say("Undone. ");
  showEnd();
});

right.addEventListener("change", () => { rightChosen = true; showErrors(); });

/** The right answer's weights before a step and after it, and between them what was added. */
function showMoved(k, old) {
  document.querySelector(".moved").hidden = false;
  each("[data-answer]", text => { text.textContent = data.names[k]; });
  const of = { before: old, after: W };
  each("[data-moved]", target => {
    const change = target.dataset.moved === "change";
    const values = Float64Array.from({ length: W.length / classes - 1 },
      (_, n) => change ? W[n * classes + k] - old[n * classes + k] : centredWeight(of[target.dataset.moved], n, k));
    paintSigned(target, n => values[n], change ? largest(values) : Math.max(data.scale, largest(values) / 2));
  });
}

// Pen, mouse and finger ---------------------------------------------------------------------------------------

let last = null;

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) * SIDE / box.width, y: (event.clientY - box.top) * SIDE / box.height };
}

/** Canvas and answer belong on one screen; on a phone the answer may be below it. */
function showBoth() {
  const seen = [canvas, byId("verdict"), document.querySelector(".win")].every(part => {
    const box = part?.getBoundingClientRect();
    return !box || box.top >= 0 && box.bottom <= innerHeight;
  });
  if (!seen) canvas.scrollIntoView({ block: "start" });
}

/** Another image or drawing: what was chosen for the one before does not hold. */
function begin() { rivalChosen = rightChosen = false; }

canvas.addEventListener("pointerdown", event => {
  if (event.button !== 0 || last) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  cursor.hidden = true;
  key.down = false;
  begin();
  last = place(event);
  last.pointer = event.pointerId;
  stroke(last, last);
  lookSoon();
});
canvas.addEventListener("pointermove", event => {
  if (!last || last.pointer !== event.pointerId) return;
  const moves = event.getCoalescedEvents?.() ?? [];
  for (const move of moves.length ? moves : [event]) {
    const next = place(move);
    stroke(last, next);
    last = { ...next, pointer: event.pointerId };
  }
  lookSoon();
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, event => {
    if (!last || last.pointer !== event.pointerId) return;
    last = null;
    say();
    showBoth();
  });
}
// A script that paints on the canvas sends this event.
canvas.addEventListener("input", () => { hint.hidden = true; forgetRow(); begin(); say(); });

byId("clear").addEventListener("click", () => { clear(); begin(); say(); });

// Keys --------------------------------------------------------------------------------------------------------

const STEP = SIDE / 28;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
let key = { x: SIDE / 2, y: SIDE / 4, down: false };

function showCursor(visible) {
  cursor.hidden = !visible;
  cursor.classList.toggle("down", key.down);
  cursor.style.left = 100 * key.x / SIDE + "%";
  cursor.style.top = 100 * key.y / SIDE + "%";
}

canvas.addEventListener("keydown", event => {
  if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
  const arrow = ARROWS[event.key];
  if (arrow) {
    const inside = value => Math.min(Math.max(value, STEP), SIDE - STEP);
    const next = { x: inside(key.x + arrow[0] * STEP), y: inside(key.y + arrow[1] * STEP), down: key.down };
    if (key.down) {
      stroke(key, next);
      lookSoon();
    }
    key = next;
  } else if (event.key === " ") {
    key.down = !key.down;
    if (key.down) {
      begin();
      stroke(key, key);
    }
    say(key.down ? "Pen down. " : "Pen up. ");
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clear();
    begin();
    key = { x: SIDE / 2, y: SIDE / 4, down: false };
    say();
  } else {
    return;
  }
  event.preventDefault();
  showCursor(true);
});
canvas.addEventListener("blur", () => { key.down = false; showCursor(false); });

// Images of the data ------------------------------------------------------------------------------------------

/** A picture of many images of the data: `draw` paints one of them, once it is `ready`. */
function sheetOf({ picture, columns }) {
  const image = new Image();
  image.src = picture;
  const draw = (context, tile, width, height) => context.drawImage(
    image, (tile % columns) * data.width, Math.floor(tile / columns) * data.height, data.width, data.height,
    (context.canvas.width - width) / 2, (context.canvas.height - height) / 2, width, height);
  return { ready: image.decode(), draw };
}

const samples = sheetOf(data.samples.sheet);
const exact = Object.assign(document.createElement("canvas"), { width: data.width, height: data.height })
  .getContext("2d", { willReadFrequently: true });

/** The grey levels of one of the page's rows, as they are in the data; at once, for all rows share a canvas. */
function pixelsOf(tile) {
  samples.draw(exact, tile, data.width, data.height);
  const { data: rgba } = exact.getImageData(0, 0, data.width, data.height);
  return Uint8Array.from({ length: rgba.length / 4 }, (_, i) => rgba[4 * i]);
}

async function takeRow(tile) {
  await samples.ready;
  const pixels = pixelsOf(tile), scale = SIDE / Math.max(data.height, data.width);
  clear();
  begin();
  pen.imageSmoothingEnabled = false;
  samples.draw(pen, tile, data.width * scale, data.height * scale);
  hint.hidden = true;
  const { rows, labels, predicted } = data.samples;
  row = { pixels, number: rows[tile], label: labels[tile], predicted: predicted[tile] };
  say();
  showBoth();
  Object.assign(canvas.dataset, { row: row.number, label: row.label, predicted: row.predicted });
}

byId("sample").addEventListener("click", () => takeRow(Math.floor(Math.random() * data.samples.rows.length)));
