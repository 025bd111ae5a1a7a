"use strict";
// The gallery: filters, order and page live in the address after #, so that a view can be kept and shared.
(async () => {
  const { load, element, number, place, className, pictures } = harmonia;
  const PAGE = 48;
  const form = document.getElementById("filters");
  const summary = document.getElementById("summary");
  const tiles = document.getElementById("tiles");
  const index = await load("index");
  if (!index) {
    summary.textContent = "This report's data are missing: page/data must lie beside this file.";
    return;
  }
  const none = index.classes.length; // any code from here on is no class
  const cells = index.cells.map((cell, number) => ({ ...cell, number }));
  const settings = cells.map((cell) => [cell.data, `fill ${cell.fill}`, `label ${cell.label_policy}`, cell.variant]
    .filter(Boolean).join(", "));
  cells.forEach((cell, at) => { cell.setting = settings[at]; });
  let page = 0;
  let drawn = 0; // of the latest drawing; an older one that still waits for data gives up

  function fill(name, options, wanted) {
    const select = form.elements[name];
    select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
    const values = options.map(([value]) => value);
    select.value = values.includes(wanted) ? wanted : values[0];
    return select.value;
  }

  const same = (names) => [...new Set(names)].map((name) => [name, name]);

  // Every choice narrows those after it to what has been computed.
  function fillChoices(wanted) {
    const sources = new Map(cells.map((cell) => [cell.source, cell.sourceName]));
    const source = fill("source", [...sources], wanted.source);
    const ofSource = cells.filter((cell) => cell.source === source);
    const method = fill("method", same(ofSource.map((cell) => cell.method)), wanted.method);
    const ofMethod = ofSource.filter((cell) => cell.method === method);
    const setting = fill("setting", same(ofMethod.map((cell) => cell.setting)), wanted.setting);
    form.elements.setting.closest("label").hidden = form.elements.setting.options.length < 2;
    const cell = ofMethod.find((one) => one.setting === setting);
    const target = fill("target", same(cell.targets.map((one) => one.name)), wanted.target);
    const position = cell.targets.findIndex((one) => one.name === target);
    const arms = cell.targets[position].arms.filter((arm) => arm !== index.imageArm);
    fill("arm", same(arms), wanted.arm ?? index.arm);
    const set = index.sets[cell.set];
    const labels = [...new Set(index.labels.subarray(set.first, set.first + set.count))].filter((code) => code < none);
    const named = labels.map((code) => [String(index.classes[code][0]), className(index, code)])
      .sort((one, other) => one[1].localeCompare(other[1]));
    fill("class", [["", "all classes"], ...named], wanted.class);
    for (const name of ["source_right", "right", "kept", "sort"]) {
      const values = [...form.elements[name].options].map((option) => option.value);
      form.elements[name].value = values.includes(wanted[name]) ? wanted[name] : "";
    }
    return { cell, position, set };
  }

  // The images that pass, in order, with what their tiles say.
  function select(numbers, chosen, asked) {
    const { set } = chosen;
    const arms = chosen.cell.targets[chosen.position].arms;
    const before = arms.indexOf(index.imageArm) * set.count, after = arms.indexOf(asked.arm) * set.count;
    const at = (values, offset, image) => (offset < 0 ? NaN : values[offset + image]);
    const found = [];
    for (let image = 0; image < set.count; image++) {
      const label = index.labels[set.first + image];
      const first = at(numbers.predicted, before, image), then = at(numbers.predicted, after, image);
      if (!(then < none)) continue; // no row: the image could not be read
      const one = {
        image: set.first + image, label, then, labelled: label < none,
        right: at(numbers.right, before, image), rightAfter: at(numbers.right, after, image),
        sourceRight: numbers.sourceRight[image], kept: first === then ? 1 : 0,
        p: at(numbers.p, before, image), pAfter: at(numbers.p, after, image),
        flag: index.flags[numbers.flags[image]], explained: numbers.explained[image],
      };
      if (asked.class && index.classes[label]?.[0] !== asked.class) continue;
      if (asked.source_right && !(one.labelled && String(one.sourceRight) === asked.source_right)) continue;
      if (asked.right && !(one.labelled && String(one.right) === asked.right)) continue;
      if (asked.kept && String(one.kept) !== asked.kept) continue;
      found.push(one);
    }
    if (asked.sort) {
      const drop = (one) => one.p - one.pAfter, ratio = (one) => one.pAfter / one.p;
      const by = asked.sort.startsWith("drop") ? drop : ratio;
      const hardly = (one) => by === ratio && one.p < 0.05; // what was hardly seen may be kept a hundredfold
      const sign = asked.sort.endsWith("-") ? -1 : 1;
      const place = (one) => (Number.isNaN(by(one)) || hardly(one) ? Infinity : sign * by(one)); // last
      found.sort((one, other) => {
        const [a, b] = [place(one), place(other)];
        return a === b ? one.image - other.image : a - b;
      });
    }
    return found;
  }

  function tile(one, chosen, asked, state) {
    const [shown, feature] = [element("div", { class: "nothing" }), element("div", { class: "nothing" })];
    const pair = element("div", { class: "pair" }, shown, feature);
    const verdict = (right) => (one.labelled ? element("span", { class: right ? "good" : "bad" }, right ? "✓ right" : "✗ wrong") : "no label");
    const text = element("div", { class: "tile-text" },
      element("b", {}, one.labelled ? className(index, one.label) : index.ids[one.image]),
      element("span", {}, "image ", verdict(one.right), " → feature ", verdict(one.rightAfter)),
      element("br"), one.kept ? "prediction kept" : `prediction lost to ${className(index, one.then)}`,
      element("br"), `P(${className(index, one.explained)}) ${number(one.p)} → ${number(one.pAfter)}`,
      one.flag ? ` · map is ${one.flag}` : "");
    const link = element("a", { href: `image.html#${new URLSearchParams({ image: one.image, arm: asked.arm, back: state })}` }, pair, text);
    const item = element("li", {}, link);
    item.draw = async () => {
      const where = place(index, one.image);
      const [picture, maps] = await Promise.all([
        pictures.thumbnail(index, one.image), pictures.loadMaps(index, chosen.cell.number, where.file),
      ]);
      if (!picture) {
        const why = pictures.whyNone(index, one.image);
        shown.textContent = "no thumbnail";
        shown.title = why;
        feature.textContent = why;
        return;
      }
      picture.alt = "";
      shown.replaceWith(picture);
      const map = pictures.mapOf(maps, where.row, picture.naturalWidth, picture.naturalHeight);
      if (!map || !pictures.canDraw(map, asked.arm)) {
        feature.textContent = map ? pictures.whyNotDrawn(map, asked.arm) : "no map kept";
        return;
      }
      const canvas = element("canvas", { role: "img", "aria-label": "feature" });
      pictures.drawFeature(canvas, picture, map, asked.arm);
      feature.replaceWith(canvas);
    };
    return item;
  }

  // Tiles are drawn when they come near the window.
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      entry.target.draw();
    }
  }, { rootMargin: "300px" });

  async function show(wanted) {
    const turn = ++drawn;
    tiles.setAttribute("aria-busy", "true");
    const chosen = fillChoices(wanted);
    const asked = Object.fromEntries([...form.elements].filter((field) => field.name).map((field) => [field.name, field.value]));
    const numbers = await load(`numbers-${chosen.cell.number}-${chosen.position}`);
    if (turn !== drawn) return;
    if (!numbers) {
      summary.textContent = "This target's data file is missing.";
      return;
    }
    const found = select(numbers, chosen, asked);
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    page = Math.min(Math.max(0, page), pages - 1);
    const state = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== ""));
    state.set("page", page + 1);
    history.replaceState(null, "", `#${state}`);
    try {
      sessionStorage.setItem("harmonia-order", JSON.stringify(found.map((one) => one.image)));
    } catch { /* without storage the image page goes by the order of the data */ }
    const percent = (part) => (found.length ? `${(100 * part / found.length).toFixed(1)} %` : "–");
    const labelled = found.every((one) => one.labelled);
    summary.textContent = `${found.length.toLocaleString("en")} of ${chosen.set.count.toLocaleString("en")} images`
      + (labelled ? `; right on the image ${percent(found.filter((one) => one.right).length)}, `
        + `on the feature ${percent(found.filter((one) => one.rightAfter).length)}` : "")
      + `; prediction kept ${percent(found.filter((one) => one.kept).length)}`;
    near.disconnect();
    const shown = found.slice(page * PAGE, (page + 1) * PAGE).map((one) => tile(one, chosen, asked, state));
    tiles.replaceChildren(...shown);
    shown.forEach((item) => near.observe(item));
    document.getElementById("place").textContent = `Page ${page + 1} of ${pages}`;
    document.getElementById("previous").disabled = page === 0;
    document.getElementById("next").disabled = page === pages - 1;
    tiles.setAttribute("aria-busy", "false");
  }

  function fromAddress() {
    const wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    page = (Number.parseInt(wanted.page, 10) || 1) - 1;
    show(wanted);
  }

  function fromForm() {
    show(Object.fromEntries([...form.elements].filter((field) => field.name).map((field) => [field.name, field.value])));
  }

  form.addEventListener("change", () => { page = 0; fromForm(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => { event.preventDefault(); page = 0; show({}); });
  for (const [id, step] of [["previous", -1], ["next", 1]]) {
    document.getElementById(id).addEventListener("click", () => { page += step; fromForm(); scrollTo(0, 0); });
  }
  addEventListener("hashchange", fromAddress);
  fromAddress();
})();
