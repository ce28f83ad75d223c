"use strict";
// From a picture to an answer, step by step as in normalize.py, deskew.py, directions.py and softmax.py.
// Sums of grey levels are whole numbers below 2^53, so they are exact here as they are there.

const MNIST_SIDE = 28, MNIST_BOX = 20, LEAST_CONTRAST = 32, SURE = 85, SPECK = 32;

/** floor(value / by + 1/2) */
function divide(value, by) {
  return Math.floor((2 * value + by) / (2 * by));
}

/** The smallest level with at least part/whole of the counts at or below it. */
function quantile(counts, part, whole) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  let below = 0;
  for (let level = 0; ; level++) {
    below += counts[level];
    if (whole * below >= part * all) return level;
  }
}

/** Steps 1 and 2: the ink of each grey level, 0 to 255; null if there is nothing to see. */
function inkScale(grey, height, width) {
  const ring = new Array(256).fill(0);
  for (let x = 0; x < width; x++) {
    ring[grey[x]]++;
    ring[grey[(height - 1) * width + x]]++;
  }
  for (let y = 1; y < height - 1; y++) {
    ring[grey[y * width]]++;
    ring[grey[y * width + width - 1]]++;
  }
  const ground = quantile(ring, 1, 2);
  let darkest = 255, lightest = 0;
  for (const level of grey) {
    if (level < darkest) darkest = level;
    if (level > lightest) lightest = level;
  }
  const inverted = ground - darkest > lightest - ground;
  const contrast = Math.max(ground - darkest, lightest - ground);
  if (contrast < LEAST_CONTRAST) return null;
  const distances = new Array(256).fill(0);
  const distance = level => Math.max(inverted ? ground - level : level - ground, 0);
  ring.forEach((count, level) => { distances[distance(level)] += count; });
  const noise = Math.min(quantile(distances, 15, 16), Math.floor(contrast / 2));
  const scale = ring.map((_, level) => distance(level) > noise ? divide(255 * distance(level), contrast) : 0);
  return { scale, inverted };
}

/** Step 3 for one axis: the first line with enough sure ink, and one past the last. */
function extent(counts) {
  const most = counts.reduce((a, b) => Math.max(a, b), 0);
  const sum = lines => lines.reduce((a, b) => a + b, 0);
  let enough = count => count > Math.floor(most / SPECK);
  // A thin pen: the bar of a 7 is a line as full as its stem is long, so the stem is as faint as specks.
  if (4 * sum(counts.filter(count => !enough(count))) > sum(counts)) enough = count => count > 0;
  return [counts.findIndex(enough), counts.length - [...counts].reverse().findIndex(enough)];
}

/** Weighted sums of the lines that each of the reduced lines covers. */
function reduceLines(lines, length, side, box) {
  const count = lines.length;
  const reduced = [];
  for (let i = 0; i < Math.ceil(count * box / side); i++) {
    const sums = new Float64Array(length);
    const first = Math.floor(side * i / box), last = Math.min(Math.ceil(side * (i + 1) / box), count);
    for (let j = first; j < last; j++) {
      const overlap = Math.min(box * (j + 1), side * (i + 1)) - Math.max(box * j, side * i);
      for (let k = 0; k < length; k++) sums[k] += overlap * lines[j][k];
    }
    reduced.push(sums);
  }
  return reduced;
}

function transposed(lines) {
  return Array.from(lines[0], (_, k) => Float64Array.from(lines, line => line[k]));
}

/** Step 5 for one axis: where the digit begins, so that its mean index comes to length / 2. */
function offset(profile, mass, length) {
  const moment = profile.reduce((sum, value, index) => sum + value * index, 0);
  const wanted = Math.floor((length * mass - 2 * moment + mass) / (2 * mass));
  return Math.min(Math.max(wanted, 0), length - profile.length);
}

/**
 * Make an MNIST image of a picture of one digit.
 * grey: its pictureHeight * pictureWidth levels, 0 to 255; height and width: of the new image.
 * Returns {image: Uint8Array, inverted}, or null if no digit can be seen.
 */
function normalize(grey, pictureHeight, pictureWidth, height, width) {
  const found = inkScale(grey, pictureHeight, pictureWidth);
  if (!found) return null;
  const { scale, inverted } = found;
  const rows = new Array(pictureHeight).fill(0), columns = new Array(pictureWidth).fill(0);
  for (let y = 0; y < pictureHeight; y++) {
    for (let x = 0; x < pictureWidth; x++) {
      if (scale[grey[y * pictureWidth + x]] > SURE) {
        rows[y]++;
        columns[x]++;
      }
    }
  }
  const [top, bottom] = extent(rows), [left, right] = extent(columns);
  const crop = [];
  for (let y = top; y < bottom; y++) {
    crop.push(Float64Array.from({ length: right - left }, (_, x) => scale[grey[y * pictureWidth + left + x]]));
  }
  const side = Math.max(bottom - top, right - left);
  const box = Math.max(1, divide(MNIST_BOX * Math.min(height, width), MNIST_SIDE));
  const across = transposed(reduceLines(crop, right - left, side, box));
  let digit = transposed(reduceLines(across, across[0].length, side, box));
  digit = digit.map(line => line.map(sum => divide(sum, side * side)));
  const brightest = Math.max(...digit.map(line => Math.max(...line)));
  if (!brightest) return null;
  digit = digit.map(line => line.map(value => divide(255 * value, brightest)));

  const sum = line => line.reduce((a, b) => a + b, 0);
  const ofRows = digit.map(sum), ofColumns = transposed(digit).map(sum);
  const mass = sum(ofRows);
  const y0 = offset(ofRows, mass, height), x0 = offset(ofColumns, mass, width);
  const image = new Uint8Array(height * width);
  digit.forEach((line, y) => image.set(line, (y0 + y) * width + x0));
  return { image, inverted };
}

/** Shear an image upright about its centre of mass, and move that to the middle: deskew.py. */
function deskew(image, height, width) {
  let s = 0, sx = 0, sy = 0, sxy = 0, syy = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const p = image[y * width + x];
      s += p;
      sx += p * x;
      sy += p * y;
      sxy += p * x * y;
      syy += p * y * y;
    }
  }
  const mu11 = s * sxy - sx * sy, mu02 = s * syy - sy * sy;
  const alpha = mu02 > 0 ? mu11 / mu02 : 0;
  const cx = s > 0 ? sx / s : width / 2, cy = s > 0 ? sy / s : height / 2;
  const at = (y, x) => y >= 0 && y < height && x >= 0 && x < width ? image[y * width + x] : 0;
  const dy = cy - height / 2, iy = Math.floor(dy), fy = dy - iy;
  const result = new Uint8Array(height * width);
  for (let y = 0; y < height; y++) {
    const dx = (cx - width / 2) + alpha * (y - height / 2), ix = Math.floor(dx), fx = dx - ix;
    const q = x => (1 - fy) * at(y + iy, x) + fy * at(y + iy + 1, x);
    for (let x = 0; x < width; x++) {
      result[y * width + x] = Math.floor((1 - fx) * q(x + ix) + fx * q(x + ix + 1) + 0.5);
    }
  }
  return result;
}

/** In which of eight directions the ink rises, cell by cell: directions.py. */
function directions(image, height, width) {
  const c = Math.ceil(Math.max(height, width) / 7), rows = Math.ceil(height / c), columns = Math.ceil(width / c);
  const cut = t => Math.max(t, 0);
  const tent = (k, i) => cut(2 * c - Math.abs(2 * i - (2 * c * k + c - 1)));
  const at = (y, x) => y >= 0 && y < height && x >= 0 && x < width ? image[y * width + x] : 0;
  const sums = new Float64Array(8 * rows * columns);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const gx = at(y, x + 1) - at(y, x - 1), gy = at(y + 1, x) - at(y - 1, x);
      if (!gx && !gy) continue;
      const flat = Math.abs(gx), steep = Math.abs(gy);
      const east = cut(gx), south = cut(gy), west = cut(-gx), north = cut(-gy);
      const parts = [
        cut(gx - steep), Math.min(east, south), cut(gy - flat), Math.min(west, south),
        cut(-gx - steep), Math.min(west, north), cut(-gy - flat), Math.min(east, north),
      ];
      const row = Math.floor(y / c), column = Math.floor(x / c);
      for (let r = Math.max(row - 1, 0); r <= Math.min(row + 1, rows - 1); r++) {
        for (let q = Math.max(column - 1, 0); q <= Math.min(column + 1, columns - 1); q++) {
          const weight = tent(r, y) * tent(q, x);
          parts.forEach((part, d) => { sums[(d * rows + r) * columns + q] += part * weight; });
        }
      }
    }
  }
  return Uint8Array.from(sums, sum => Math.min(255, Math.floor(Math.sqrt(64 * sum / c ** 4))));
}

const STEPS = { deskew, directions };

/** Logits of a row of features, 0 to 255; W is (features + 1) x classes, the last row is the bias. Eq. 1. */
function logits(features, W, classes) {
  const count = features.length;
  const F = new Float64Array(classes);
  for (let n = 0; n < count; n++) {
    if (features[n]) for (let k = 0; k < classes; k++) F[k] += features[n] * W[n * classes + k];
  }
  for (let k = 0; k < classes; k++) F[k] = F[k] / 255 + W[count * classes + k];
  return F;
}

/** Log S of one row of logits, finite even where S is 0. Eq. 2, Eq. 6. */
function logSoftmax(F) {
  const largest = Math.max(...F);
  const sum = F.reduce((total, f) => total + Math.exp(f - largest), 0);
  return F.map(f => f - largest - Math.log(sum));
}

/** The gradient of the loss on one row with this label, of the shape of W. Eq. 12, Eq. 15, Eq. 16. */
function gradient(features, label, W, classes, reg) {
  const error = logSoftmax(logits(features, W, classes)).map((log, k) => Math.exp(log) - (k === label));
  return Float64Array.from(W, (w, i) => {
    const n = Math.floor(i / classes);
    return n < features.length ? features[n] / 255 * error[i % classes] + reg * w : error[i % classes];
  });
}
