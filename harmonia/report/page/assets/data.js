"use strict";
// Data files are scripts that call harmonia.receive: a page opened from a folder may not fetch.
const harmonia = (() => {
  const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, i2: Int16Array, f4: Float32Array };
  const waiting = new Map();
  const loaded = new Map();

  function receive(name, value) {
    waiting.get(name)?.(decoded(value));
    waiting.delete(name);
  }

  // Arrays come deflated as {array: TYPE, shape, data}; they become typed arrays with a property shape.
  async function decoded(value) {
    if (value === null || typeof value !== "object") return value;
    if (Object.hasOwn(TYPES, value.array)) {
      const deflated = new Blob([Uint8Array.from(atob(value.data), (letter) => letter.charCodeAt(0))]);
      const bytes = await new Response(deflated.stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
      return Object.assign(new TYPES[value.array](bytes), { shape: value.shape });
    }
    if (Array.isArray(value)) return value.some((part) => typeof part === "object") ? Promise.all(value.map(decoded)) : value;
    return Object.fromEntries(await Promise.all(Object.entries(value).map(async ([key, part]) => [key, await decoded(part)])));
  }

  // The content of page/data/NAME.js; null where there is no such file.
  function load(name) {
    if (!loaded.has(name)) {
      loaded.set(name, new Promise((resolve) => {
        const script = document.createElement("script");
        waiting.set(name, resolve);
        script.src = `page/data/${name}.js`;
        script.addEventListener("load", () => script.remove());
        script.addEventListener("error", () => { script.remove(); resolve(null); });
        document.head.append(script);
      }));
    }
    return loaded.get(name);
  }

  // An element with text and children: names from data never meet an HTML parser.
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  function number(value, digits = 2) {
    return Number.isNaN(value) || value === undefined ? "–" : value.toFixed(digits);
  }

  // Where an image's numbers are: its set, its place there, its data file and its row in that file.
  function place(index, image) {
    const set = index.sets.find((one) => image >= one.first && image < one.first + one.count);
    const inSet = image - set.first;
    const file = set.file + Math.floor(inSet / index.imagesPerFile);
    return { set, inSet, file, row: inSet % index.imagesPerFile };
  }

  const className = (index, code) => index.classes[code]?.[1] ?? "–";

  return { receive, load, element, number, place, className };
})();
