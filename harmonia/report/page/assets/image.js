"use strict";
// One image: every source's map and feature, and every target's first classes before and after.
(async () => {
  const { load, element, number, place, className, pictures } = harmonia;
  const summary = document.getElementById("summary");
  const body = document.getElementById("cells");
  const armChoice = document.getElementById("arm");
  const index = await load("index");
  if (!index) {
    summary.textContent = "This report's data are missing: page/data must lie beside this file.";
    return;
  }
  const none = index.classes.length;
  const classFact = (code) => {
    const [id, name] = index.classes[code] ?? ["none", "none"];
    return id === name ? name : `${name} (${id})`;
  };
  const none_ = () => element("div", { class: "nothing" });

  const address = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const link = (image, asked) => `image.html#${new URLSearchParams({ ...asked, image })}`;

  function order() {
    try {
      const kept = JSON.parse(sessionStorage.getItem("harmonia-order") ?? "null");
      if (Array.isArray(kept)) return kept;
    } catch { /* as without */ }
    return null;
  }

  function neighbours(image, asked) {
    const kept = order();
    const listed = kept?.indexOf(image) ?? -1;
    const near = (step) => (listed >= 0 ? kept[listed + step] : index.ids[image + step] === undefined ? undefined : image + step);
    for (const [id, step] of [["previous", -1], ["next", 1]]) {
      const other = document.getElementById(id);
      other.hidden = near(step) === undefined;
      if (!other.hidden) other.href = link(near(step), asked);
    }
  }

  function fiveClasses(codes, label) {
    return element("ol", {}, ...[...codes].filter((code) => code < none).map((code) => (code === label
      ? element("li", {}, element("b", { class: "good" }, `${className(index, code)} ✓`))
      : element("li", {}, className(index, code)))));
  }

  function topFive(target, detail, row, arm) {
    const at = (row * target.arms.length + arm) * 5;
    return arm < 0 ? [] : detail.top5.subarray(at, at + 5);
  }

  function targetTable(cell, details, where, arm, label) {
    const rows = cell.targets.map((target, at) => {
      const detail = details?.targets[at];
      const before = target.arms.indexOf(index.imageArm), after = target.arms.indexOf(arm);
      if (!detail || after < 0) return element("tr", {}, element("th", { scope: "row" }, target.name), element("td", { colspan: 4 }, `no ${arm}`));
      const width = target.arms.length;
      const value = (name, which) => (which < 0 ? NaN : detail[name][where.row * width + which]);
      const change = (name) => `${number(value(name, before))} → ${number(value(name, after))}`;
      return element("tr", {},
        element("th", { scope: "row" }, target.name),
        element("td", {}, fiveClasses(topFive(target, detail, where.row, after), label)),
        element("td", { class: "number" }, change("p_explained")),
        element("td", { class: "number" }, change("p_label")),
        element("td", { class: "number" }, `${number(100 * value("kept_area", after), 0)} %`));
    });
    return table(["Target", "On the feature", "P(explained)", "P(label)", "Kept area"], rows, `Targets of ${cell.name}`);
  }

  function table(heads, rows, name) {
    const made = element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", {}, ...rows));
    return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, made);
  }

  // What the targets say of the whole image, once: it is the same beside every map.
  function wholeImage(cells, details, where, label) {
    const columns = new Map();
    for (const { cell, position } of cells) {
      cell.targets.forEach((target, at) => {
        const detail = details?.[position]?.targets[at];
        if (!detail || columns.has(target.name)) return;
        columns.set(target.name, fiveClasses(topFive(target, detail, where.row, target.arms.indexOf(index.imageArm)), label));
      });
    }
    const lists = [...columns.values()].map((five) => element("td", {}, five));
    return table([...columns.keys()], [element("tr", {}, ...lists)], "Targets on the whole image");
  }

  function figure(content, caption) {
    return element("figure", {}, content, element("figcaption", {}, caption));
  }

  async function section(cell, position, image, picture, details, where, arm) {
    const maps = await pictures.loadMaps(index, position, where.file);
    const explained = details?.explained[where.row];
    const flag = details ? index.flags[details.flags[where.row]] : "";
    const size = picture ? [picture.naturalWidth, picture.naturalHeight] : [224, 224];
    const map = pictures.mapOf(maps, where.row, ...size);
    const [mapShown, feature] = [map ? element("canvas", { role: "img", "aria-label": `map of ${cell.name}` }) : none_(), none_()];
    if (map) pictures.drawMap(mapShown, map, ...size);
    else mapShown.textContent = cell.noMaps || (index.thumbnails[image] ? "no map kept" : pictures.whyNone(index, image));
    let featureShown = feature;
    if (map && picture && pictures.canDraw(map, arm)) {
      featureShown = element("canvas", { role: "img", "aria-label": `feature of ${cell.name}, ${arm}` });
      pictures.drawFeature(featureShown, picture, map, arm);
    } else {
      feature.textContent = !picture ? "no thumbnail" : !map ? "no map kept" : pictures.whyNotDrawn(map, arm);
    }
    const facts = [`explained class: ${className(index, explained)}`, `fill ${cell.fill}`, `label policy ${cell.label_policy}`];
    if (flag) facts.push(`the map is ${flag}: it ranks nothing, a region of it is random`);
    if (cell.fill !== "black") facts.push("the evaluation filled dropped parts otherwise than the black drawn here");
    return element("section", { class: "cell" }, element("h2", {}, cell.name), element("p", { class: "quiet" }, facts.join(" · ")),
      element("div", { class: "cell-body" }, figure(mapShown, "map"), figure(featureShown, `feature, ${arm}`),
        targetTable(cell, details, where, arm, index.labels[image])));
  }

  let drawn = 0;
  async function show() {
    const turn = ++drawn;
    const asked = address();
    const image = Number.parseInt(asked.image, 10);
    document.getElementById("back").href = `browse.html#${asked.back ?? ""}`;
    if (!(image >= 0 && image < index.ids.length)) {
      summary.textContent = asked.image ? `There is no image number ${asked.image} here.` : "Choose an image among all images.";
      body.replaceChildren();
      return;
    }
    neighbours(image, asked);
    const where = place(index, image);
    const cells = index.cells.map((cell, position) => ({ cell, position })).filter(({ cell }) => index.sets[cell.set] === where.set);
    const label = index.labels[image];
    document.getElementById("class").textContent = label < none ? className(index, label) : "No label";
    document.title = document.title.replace(/^.*? · /, () => `${index.ids[image]} · `);
    const facts = { image: index.ids[image], "data set": where.set.name, class: classFact(label) };
    document.getElementById("facts").replaceChildren(...Object.entries(facts).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
    const arms = [...new Set(cells.flatMap(({ cell }) => cell.targets.flatMap((target) => target.arms)))].filter((arm) => arm !== index.imageArm);
    const arm = [asked.arm, index.arm, ...arms].find((one) => arms.includes(one));
    armChoice.replaceChildren(...arms.map((one) => element("option", { value: one }, one)));
    armChoice.value = arm;
    const [picture, details] = await Promise.all([pictures.thumbnail(index, image), load(`details-${where.file}`)]);
    const sections = await Promise.all(cells.map(({ cell, position }) => section(cell, position, image, picture, details?.[position], where, arm)));
    if (turn !== drawn) return;
    const holder = document.getElementById("picture");
    if (picture) picture.alt = `image ${index.ids[image]}`;
    const nothing = none_();
    nothing.textContent = `no thumbnail: ${pictures.whyNone(index, image)}`;
    holder.replaceChildren(picture ?? nothing);
    summary.textContent = details ? "" : "This image's data file is missing.";
    const whole = element("section", { class: "cell" }, element("h2", {}, "The whole image"), wholeImage(cells, details, where, label));
    body.replaceChildren(whole, ...sections);
  }

  armChoice.addEventListener("change", () => {
    history.replaceState(null, "", `#${new URLSearchParams({ ...address(), arm: armChoice.value })}`);
    show();
  });
  addEventListener("hashchange", show);
  show();
})();
