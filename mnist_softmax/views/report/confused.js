// The section "What it confuses": the images of a cell of the matrix.

const buttons = [...document.querySelectorAll("[data-true]")];
const digits = sheetOf(data.digits.sheet);

const counts = buttons.map(button => Number(button.textContent) || 0);
const countOf = button => counts[buttons.indexOf(button)];

function picture(title) {
  const canvas = document.createElement("canvas");
  canvas.width = data.width;
  canvas.height = data.height;
  canvas.className = "pixels digit";
  canvas.setAttribute("role", "img");
  canvas.title = title;
  canvas.setAttribute("aria-label", title);
  return canvas;
}

async function choose(button) {
  buttons.forEach(other => { other.tabIndex = -1; other.removeAttribute("aria-pressed"); });
  button.tabIndex = 0;
  button.setAttribute("aria-pressed", "true");
  const { true: label, predicted } = button.dataset;
  const tiles = data.digits.cells[`${label},${predicted}`] ?? [];
  const count = countOf(button);
  const title = document.createElement("h3"), text = document.createElement("p"), shown = document.createElement("div");
  title.textContent = label === predicted
    ? `${data.names[label]} read right: ${count}`
    : `${data.names[label]} read as ${data.names[predicted]}: ${count}`;
  const order = label === predicted ? "the least sure first" : "the surest first";
  text.textContent = count === 0 ? "None." : (tiles.length < count ? `${tiles.length} of them, ` : "")
    + `the average, then ${order}.`;
  shown.className = "tiles";
  shown.tabIndex = 0; // it scrolls
  shown.setAttribute("role", "group");
  shown.setAttribute("aria-label", title.textContent);
  await digits.ready;
  const average = picture("the average of these images"), sums = new Float64Array(data.height * data.width);
  for (const tile of tiles) {
    const target = picture(`row ${data.digits.rows[tile]}, ${percent(data.digits.probabilities[tile])}`);
    const context = target.getContext("2d", { willReadFrequently: true });
    digits.draw(context, tile, data.width, data.height);
    context.getImageData(0, 0, data.width, data.height).data.forEach((level, i) => { if (i % 4 === 0) sums[i / 4] += level; });
    shown.append(target);
  }
  if (tiles.length) {
    average.classList.add("average");
    paint(average, n => [255, 255, 255, sums[n] / tiles.length]);
    shown.prepend(average);
  }
  if (button.getAttribute("aria-pressed") !== "true") return; // another one was chosen meanwhile
  byId("cell").classList.add("chosen");
  byId("cell").replaceChildren(title, text, shown);
  announce(`${title.textContent}. ${text.textContent}`);
}

buttons.forEach((button, index) => {
  const { true: label, predicted } = button.dataset;
  button.disabled = false;
  button.tabIndex = index ? -1 : 0;
  button.setAttribute("aria-label", `${data.names[label]} read as ${data.names[predicted]}: ${counts[index]}`);
  button.addEventListener("click", () => choose(button));
  button.addEventListener("keydown", event => {
    const arrow = ARROWS[event.key];
    if (!arrow || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const column = index % classes + arrow[0], row = Math.floor(index / classes) + arrow[1];
    if (column < 0 || column >= classes || row < 0 || row >= classes) return;
    const next = buttons[row * classes + column];
    button.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
});

const rowSums = Array.from(data.names, (_, k) => counts.slice(k * classes, (k + 1) * classes).reduce((a, b) => a + b, 0));

/** A count as a share of its row; only all of them are 100 %. */
function share(count, sum) {
  const part = 100 * count / sum;
  return count === sum ? "100" : part < 0.05 ? "<0.1" : Math.min(part, 99.9).toFixed(1);
}

byId("unit").addEventListener("change", event => {
  buttons.forEach((button, index) => {
    const count = counts[index], { true: label, predicted } = button.dataset;
    const shown = event.target.value === "share" && count ? share(count, rowSums[label]) : count;
    button.textContent = count ? shown : "·";
    button.setAttribute("aria-label", `${data.names[label]} read as ${data.names[predicted]}: ${shown}`);
  });
});

// All is there: begin.
clear();
look();
