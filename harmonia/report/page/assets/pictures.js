"use strict";
// Maps and features, drawn from an image's thumbnail and its small map.
harmonia.pictures = (() => {
  // viridis, every eighth of its range
  const STOPS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129],
    [92, 200, 99], [170, 220, 50], [253, 231, 37]];

  // An image's row of a data file of maps; null where it has none. Boxes are in pixels of width x height.
  function mapOf(maps, row, width, height) {
    const at = maps ? maps.rows[row] : -1;
    if (at < 0) return null;
    const [, rows, columns] = maps.soft.shape;
    const own = (values) => values.subarray(at * values.length / maps.soft.shape[0], (at + 1) * values.length / maps.soft.shape[0]);
    const [left, top, right, bottom] = maps.boxes.subarray(at * 4, at * 4 + 4);
    return {
      rows, columns, soft: own(maps.soft), smallestAreas: own(maps.smallestAreas), arms: maps.arms,
      box: { left: left * width, top: top * height, right: right * width, bottom: bottom * height },
    };
  }

  // Cells read bilinearly at the centres of the pixels; NaN outside the box. As harmonia.features.resample.
  function upsampled(cells, map, width, height) {
    const { rows, columns, box } = map;
    const out = new Float32Array(width * height).fill(NaN);
    const clamp = (value, last) => Math.min(Math.max(value, 0), last);
    for (let y = 0; y < height; y++) {
      const v = (y + 0.5 - box.top) / (box.bottom - box.top);
      if (v < 0 || v > 1) continue;
      const fy = clamp(v * rows - 0.5, rows - 1), y0 = Math.floor(fy), y1 = Math.min(y0 + 1, rows - 1);
      for (let x = 0; x < width; x++) {
        const u = (x + 0.5 - box.left) / (box.right - box.left);
        if (u < 0 || u > 1) continue;
        const fx = clamp(u * columns - 0.5, columns - 1), x0 = Math.floor(fx), x1 = Math.min(x0 + 1, columns - 1);
        const above = cells[y0 * columns + x0] * (1 - fx + x0) + cells[y0 * columns + x1] * (fx - x0);
        const below = cells[y1 * columns + x0] * (1 - fx + x0) + cells[y1 * columns + x1] * (fx - x0);
        out[y * width + x] = (above * (1 - fy + y0) + below * (fy - y0)) / 255;
      }
    }
    return out;
  }

  // Arms of a region by its area in percent; of the soft map, which has none, null.
  const canDraw = (map, arm) => Object.hasOwn(map.arms, arm);

  const whyNotDrawn = (map, arm) => (Object.values(map.arms).some(Boolean) ? `${arm} is not drawn here` : "no region kept; run the job again");

  // Keep weights of an arm, 0 outside the box; only for arms that canDraw. A region is read where the pixels' centres lie.
  function keepWeights(map, arm, width, height) {
    const area = map.arms[arm];
    if (area === null) return upsampled(map.soft, map, width, height).map((value) => value || 0);
    const { box, smallestAreas } = map, side = Math.sqrt(smallestAreas.length), keep = new Float32Array(width * height);
    for (let y = 0; y < height; y++) {
      const v = Math.floor(side * (y + 0.5 - box.top) / (box.bottom - box.top));
      for (let x = 0; x < width; x++) {
        const u = Math.floor(side * (x + 0.5 - box.left) / (box.right - box.left));
        const inside = v >= 0 && v < side && u >= 0 && u < side;
        keep[y * width + x] = inside && smallestAreas[v * side + u] <= area ? 1 : 0;
      }
    }
    return keep;
  }

  function layer(width, height, paint) {
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    paint(pixels.data);
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  // Black over the picture, as opaque as the pixel is dropped: the Hadamard product. Pixels of a picture from a
  // folder may be drawn but not read, so the product is left to the canvas.
  function drawFeature(canvas, picture, map, arm) {
    const { naturalWidth: width, naturalHeight: height } = picture;
    Object.assign(canvas, { width, height });
    const keep = keepWeights(map, arm, width, height);
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    context.drawImage(layer(width, height, (data) => {
      keep.forEach((weight, pixel) => { data[4 * pixel + 3] = Math.round(255 * (1 - weight)); });
    }), 0, 0);
  }

  // The soft map by colour; transparent where its source sees nothing.
  function drawMap(canvas, map, width, height) {
    Object.assign(canvas, { width, height });
    const values = upsampled(map.soft, map, width, height);
    canvas.getContext("2d").drawImage(layer(width, height, (data) => {
      values.forEach((value, pixel) => {
        if (Number.isNaN(value)) return;
        const at = value * (STOPS.length - 1), low = Math.min(Math.floor(at), STOPS.length - 2);
        for (let channel = 0; channel < 3; channel++) {
          const [from, to] = [STOPS[low][channel], STOPS[low + 1][channel]];
          data[4 * pixel + channel] = Math.round(from + (to - from) * (at - low));
        }
        data[4 * pixel + 3] = 255;
      });
    }), 0, 0);
  }

  // A cell's file of maps, null where it has none.
  const loadMaps = (index, cell, file) =>
    (index.cells[cell].mapFiles.includes(file) ? harmonia.load(`maps-${cell}-${file}`) : null);

  // The thumbnail as a loaded picture, or null.
  async function thumbnail(index, image) {
    if (!index.thumbnails[image]) return null;
    const picture = new Image();
    picture.src = `page/thumbnails/${index.thumbnails[image]}`;
    try {
      await picture.decode();
      return picture;
    } catch {
      return null;
    }
  }

  const whyNone = (index, image) =>
    index.thumbnails[image] ? "the thumbnail's file is gone" : (index.missing[image] ?? index.beyond);

  return { loadMaps, mapOf, canDraw, whyNotDrawn, keepWeights, drawFeature, drawMap, thumbnail, whyNone };
})();
