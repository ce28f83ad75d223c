// The page's interaction: the canvas and the cells of the confusion matrix.

const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(data.weights), character => character.charCodeAt(0));
const W = new Float32Array(bytes.buffer);
const classes = data.names.length;
const percent = fraction => (100 * fraction).toFixed(2) + " %";
const byId = id => document.getElementById(id);

// From a picture to an answer ---------------------------------------------------------------------------------

/**
 * What the model says of a picture: {image, features, inverted, probabilities, label}, or null if there is no
 * digit. `image` is after the steps that make images, `features` after all.
 */
function read(grey, pictureHeight, pictureWidth) {
  const normalized = normalize(grey, pictureHeight, pictureWidth, data.height, data.width);
  if (!normalized) return null;
  let { image } = normalized, features = image;
  for (const step of data.features) {
    features = STEPS[step](image, data.height, data.width);
    if (step !== "directions") image = features;
  }
  const S = probabilities(features, W, classes);
  return { image, features, inverted: normalized.inverted, probabilities: S, label: S.indexOf(Math.max(...S)) };
}

// For the console, and for the tests that compare these with the program.
window.mnistSoftmax = { normalize, deskew, directions, read };

// The canvas --------------------------------------------------------------------------------------------------

const canvas = byId("draw");
const pen = canvas.getContext("2d", { willReadFrequently: true });
const SIDE = canvas.width, PEN_WIDTH = SIDE / 13;
const hint = document.querySelector(".hint"), cursor = document.querySelector(".cursor");
let answer = null, waiting = false;

function clear() {
  pen.fillStyle = "#000";
  pen.fillRect(0, 0, SIDE, SIDE);
  pen.lineWidth = PEN_WIDTH;
  pen.lineCap = pen.lineJoin = "round";
  pen.strokeStyle = "#fff";
  hint.hidden = false;
}

function stroke(from, to) {
  hint.hidden = true;
  pen.beginPath();
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

function look() {
  answer = read(greyOfCanvas(), SIDE, SIDE);
  showImage();
  showReasons();
  document.querySelectorAll("[data-class]").forEach((line, k) => {
    const probability = answer ? answer.probabilities[k] : 0;
    line.dataset.probability = probability;
    line.classList.toggle("win", Boolean(answer) && k === answer.label);
    line.querySelector(".fill").style.width = 100 * probability + "%";
    line.querySelector("output").textContent = answer ? percent(probability) : "–";
  });
}

/** Look at the next frame: the pen may move many times within one. */
function lookSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; look(); });
}

/** Look and say the answer; separate from `look`, so that a screen reader reads it once per stroke. */
function say(before = "") {
  look();
  byId("verdict").textContent = before + (answer
    ? `Looks like ${data.names[answer.label]}, ${percent(answer.probabilities[answer.label])}`
    : "Nothing drawn yet");
}

function paint(target, colourOf) {
  const context = target.getContext("2d");
  const picture = context.createImageData(target.width, target.height);
  for (let n = 0; n < target.width * target.height; n++) picture.data.set(colourOf(n), 4 * n);
  context.putImageData(picture, 0, 0);
}

function showImage() {
  paint(byId("seen"), n => [255, 255, 255, answer ? answer.image[n] : 0]);
}

/** x * W of the winning class, feature by feature. */
function showReasons() {
  const k = answer ? answer.label : 0;
  const spoken = Float64Array.from({ length: W.length / classes - 1 },
    (_, n) => answer ? answer.features[n] / 255 * W[n * classes + k] : 0);
  const largest = spoken.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1;
  const places = data.picture?.flat(); // which feature each pixel shows, -1 for none
  const style = getComputedStyle(document.documentElement); // colours of a light or a dark page
  const [orange, blue] = ["--for-rgb", "--against-rgb"].map(name => style.getPropertyValue(name).trim().split(" "));
  paint(byId("spoke"), n => {
    const value = spoken[places ? places[n] : n] ?? 0;
    return [...(value > 0 ? orange : blue), 255 * Math.abs(value) / largest];
  });
  const total = sign => spoken.reduce((sum, value) => value * sign > 0 ? sum + value : sum, 0);
  const signed = value => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
  byId("why").textContent = answer ? `For and against ${data.names[k]}` : `${data.picture ? "Edges" : "Pixels"} for and against`;
  const [forIt, againstIt] = byId("sums").children;
  forIt.textContent = answer ? `for ${signed(total(1))}` : "for";
  againstIt.textContent = answer ? `against ${signed(total(-1))}` : "against";
}

// Pen, mouse and finger ---------------------------------------------------------------------------------------

let last = null;

function place(event) {
  const box = canvas.getBoundingClientRect();
  return { x: (event.clientX - box.left) * SIDE / box.width, y: (event.clientY - box.top) * SIDE / box.height };
}

canvas.addEventListener("pointerdown", event => {
  if (event.button !== 0 || last) return;
  event.preventDefault();
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  cursor.hidden = true;
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
  });
}
// A script that paints on the canvas sends this event.
canvas.addEventListener("input", () => { hint.hidden = true; say(); });

byId("clear").addEventListener("click", () => { clear(); say(); });

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
    if (key.down) stroke(key, key);
    say(key.down ? "Pen down. " : "Pen up. ");
  } else if (event.key === "Delete" || event.key === "Backspace") {
    clear();
    key = { x: SIDE / 2, y: SIDE / 4, down: false };
    say();
  } else {
    return;
  }
  event.preventDefault();
  showCursor(true);
});
canvas.addEventListener("blur", () => { key.down = false; showCursor(false); });

// Digits of the data ------------------------------------------------------------------------------------------

const sheet = new Image();
sheet.src = data.sheet.picture;

function drawTile(context, tile, width, height) {
  const { columns } = data.sheet;
  context.drawImage(sheet, (tile % columns) * data.width, Math.floor(tile / columns) * data.height,
    data.width, data.height, (context.canvas.width - width) / 2, (context.canvas.height - height) / 2, width, height);
}

byId("example").addEventListener("click", async () => {
  await sheet.decode();
  const tile = Math.floor(Math.random() * data.rows.length);
  const [cell] = Object.entries(data.cells).find(([, tiles]) => tiles.includes(tile));
  clear();
  hint.hidden = true;
  const scale = 0.9 * SIDE / Math.max(data.height, data.width);
  pen.imageSmoothingQuality = "high";
  drawTile(pen, tile, data.width * scale, data.height * scale);
  say(`Row ${data.rows[tile]}, a ${data.names[cell.split(",")[0]]}. `);
});

// The confusion matrix ----------------------------------------------------------------------------------------

const buttons = [...document.querySelectorAll("[data-true]")];

async function choose(button) {
  buttons.forEach(other => { other.tabIndex = -1; other.removeAttribute("aria-pressed"); });
  button.tabIndex = 0;
  button.setAttribute("aria-pressed", "true");
  const { true: label, predicted } = button.dataset;
  const tiles = data.cells[`${label},${predicted}`] ?? [];
  const count = Number(button.textContent) || 0;
  const title = document.createElement("h3"), text = document.createElement("p"), shown = document.createElement("div");
  title.textContent = label === predicted
    ? `${data.names[label]} read right: ${count}`
    : `${data.names[label]} read as ${data.names[predicted]}: ${count}`;
  const order = label === predicted ? "the least sure first" : "the surest first";
  text.textContent = count === 0 ? "None." : tiles.length < count
    ? `${tiles.length} of them, ${order}.` : count === 1 ? "" : order[0].toUpperCase() + order.slice(1) + ".";
  shown.className = "tiles";
  shown.tabIndex = 0; // it scrolls
  await sheet.decode();
  for (const tile of tiles) {
    const picture = document.createElement("canvas");
    picture.width = data.width;
    picture.height = data.height;
    picture.className = "pixels digit";
    picture.setAttribute("role", "img");
    picture.title = `row ${data.rows[tile]}, ${percent(data.probabilities[tile])}`;
    picture.setAttribute("aria-label", picture.title);
    drawTile(picture.getContext("2d"), tile, data.width, data.height);
    shown.append(picture);
  }
  if (button.getAttribute("aria-pressed") === "true") byId("cell").replaceChildren(title, text, shown);
}

buttons.forEach((button, index) => {
  button.addEventListener("click", () => choose(button));
  button.addEventListener("keydown", event => {
    const arrow = ARROWS[event.key];
    if (!arrow) return;
    event.preventDefault();
    const column = index % classes + arrow[0], row = Math.floor(index / classes) + arrow[1];
    if (column < 0 || column >= classes || row < 0 || row >= classes) return;
    const next = buttons[row * classes + column];
    button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
});

clear();
look();
