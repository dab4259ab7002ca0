"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const panel = byId("panel");
  const regions = [...document.querySelectorAll(".scroll[data-metric]")];
  const DASHES = ["none", "7 3", "2 2"];
  const SVG = "http://www.w3.org/2000/svg";

  // Text from outside becomes text nodes and attribute values, never markup.
  const make = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  const draw = (name, attributes = {}, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
  function fill(element, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  // ---------------------------------------------------------------- tables: metric, filter, sort

  function showMetric() {
    for (const region of regions) region.hidden = region.dataset.metric !== byId("metric").value;
    filterRows();
  }

  function filterRows() {
    const wanted = byId("filter").value.trim().toLowerCase().split(/\s+/);
    const shown = new Set(), all = new Set();
    for (const region of regions) {
      for (const row of region.querySelectorAll("tbody tr")) {
        const name = row.cells[0].firstChild.textContent.toLowerCase();
        row.hidden = !wanted.every((word) => name.includes(word));
        if (!region.hidden) all.add(name);
        if (!region.hidden && !row.hidden) shown.add(name);
      }
    }
    byId("count").textContent = shown.size === all.size ? `${all.size} rows` : `${shown.size} of ${all.size} rows`;
  }

  function sortBy(head) {
    const table = head.closest("table"), column = head.cellIndex, body = table.querySelector("tbody.ours");
    const best = head.closest(".scroll").dataset.better === "higher" ? "descending" : "ascending";
    const first = column === 0 ? "ascending" : best;
    const other = first === "ascending" ? "descending" : "ascending";
    const way = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", way);
    const sign = way === "ascending" ? 1 : -1;
    const key = (row) => column === 0 ? row.cells[0].textContent : row.cells[column].dataset.value;
    body.append(...[...body.rows].sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined); // those without come last
      return sign * (column === 0 ? a.localeCompare(b) : Number(a) - Number(b));
    }));
  }

  // ------------------------------------------------------------------------------ panel of a cell

  function open(button) {
    const place = data.places[button.closest("td").dataset.place];
    const metric = button.closest(".scroll").dataset.metric;
    byId("panel-title").textContent = `${place.label}: ${place.out} against ${place.in}`;
    const parts = [seeds(place, metric), ...curves(place), provenance(place), commands(place)];
    byId("panel-body").replaceChildren(...parts.filter(Boolean));
    panel.showModal();
    panel.scrollTop = 0;
  }

  const SLACK = 1e-6; // intervals are rounded outward, but .951 stays .951
  const digits = (value) => value === null ? "–" : value.toFixed(3);

  function seeds(place, metric) {
    const found = place.metrics[metric] || { fits: [], p: null };
    const rows = found.fits.map(([seed, value, low, high]) => make("tr", {}, make("th", { scope: "row" }, `seed ${seed}`),
      make("td", {}, digits(value)), make("td", {}, low === null ? "–" : `${digits(Math.floor(low * 1000 + SLACK) / 1000)} – ${digits(Math.ceil(high * 1000 - SLACK) / 1000)}`)));
    const head = make("tr", {}, ...["seed", metric, "95 % interval"].map((text) =>
      make("th", { scope: "col" }, text)));
    const table = make("table", {}, make("caption", {},
      `${place.counts[0].toLocaleString("en")} in- and ${place.counts[1].toLocaleString("en")} out-images, which the ` +
      "intervals are over"),
      make("thead", {}, head), make("tbody", {}, ...rows));
    const notes = [];
    if (found.p !== null) {
      const p = found.p < 0.001 ? "p < .001" : `p = ${found.p.toFixed(3)}`;
      const what = found.p >= 0.05 ? "It is the best of its column, or not significantly worse" : "The best of its column is significantly better";
      notes.push(make("p", {}, `${what}: ${p}, adjusted for the table.`));
    }
    if (place.note) notes.push(make("p", {}, place.note));
    return make("div", {}, make("div", { class: "scroll" }, table), ...notes);
  }

  function curves(place) {
    const found = place.runs.map((run) => [data.runs[run].seed, data.curves[`${run}|${place.out}`]])
      .filter(([, curve]) => curve);
    if (!found.length) {
      const why = data.left_out ? "the page has curves of the first seeds only" : "scores are not published with this page";
      return [make("p", { class: "hint" }, `No curves: ${why}.`)];
    }
    const shapes = found.filter(([, curve]) => curve.length > 1);
    const plots = [rocPlot(found), ...shapes.map(([seed, curve]) => histogram(seed, curve.slice(1)))];
    return [make("h3", {}, "ROC curve and scores"), make("div", { class: "plots" }, ...plots)];
  }

  function rocPlot(found) {
    const [left, top, size] = [34, 8, 190];
    const plot = draw("svg", { viewBox: "0 0 240 236", role: "img", "aria-label": "ROC curve of each seed" },
      draw("path", { class: "axis", d: `M${left} ${top}h${size}v${size}h${-size}z M${left} ${top + size}l${size} ${-size}` }),
      ...[0, 0.5, 1].flatMap((at) => [
        draw("text", { x: left - 5, y: top + size - at * size + 4, "text-anchor": "end" }, String(at)),
        draw("text", { x: left + at * size, y: top + size + 14, "text-anchor": "middle" }, String(at))]),
      draw("text", { x: left + size / 2, y: 232, "text-anchor": "middle" }, "false-positive rate"),
      draw("text", { x: 10, y: top + size / 2, "text-anchor": "middle", transform: `rotate(-90 10 ${top + size / 2})` },
        "true-positive rate"));
    for (const [at, [seed, [roc]]] of found.entries()) {
      const points = roc.map((fpr, step) => {
        const tpr = 2 * step / (roc.length - 1) - fpr / 1000;
        return `${(left + size * fpr / 1000).toFixed(1)},${(top + size * (1 - tpr)).toFixed(1)}`;
      });
      plot.append(draw("polyline", { class: "roc", "stroke-dasharray": DASHES[at % 3], points: points.join(" ") }, draw("title", {}, `seed ${seed}`)));
    }
    const names = found.map(([seed], at) => `${seed}${found.length > 1 ? [" (solid)", " (dashed)", " (dotted)"][at % 3] : ""}`);
    return make("figure", {}, plot, make("figcaption", {}, `ROC by seed: ${names.join(", ")}; out is positive`));
  }

  function histogram(seed, [[low, high], ins, outs]) {
    const [left, top, width, height] = [8, 8, 224, 190];
    const most = Math.max(...ins, ...outs, 1), step = width / ins.length;
    const outline = (shares) => `M${left} ${top + height}` + shares.map((share, at) =>
      `V${(top + height * (1 - share / most)).toFixed(1)}H${(left + (at + 1) * step).toFixed(1)}`).join("") + `V${top + height}`;
    const ends = [[low, left, "start"], [high, left + width, "end"]].map(([value, x, anchor]) =>
      draw("text", { x, y: top + height + 14, "text-anchor": anchor }, Number(value.toPrecision(3)).toString()));
    const plot = draw("svg", { viewBox: "0 0 240 236", role: "img",
      "aria-label": `Histogram of the scores of seed ${seed}, from ${low} to ${high}` },
      draw("path", { class: "in-scores", d: outline(ins) }), draw("path", { class: "out-scores", d: outline(outs) }),
      draw("path", { class: "axis", d: `M${left} ${top + height}h${width}` }), ...ends,
      draw("text", { x: left + width / 2, y: 232, "text-anchor": "middle" }, "score"));
    return make("figure", {}, plot, make("figcaption", {}, `Share of images by score, seed ${seed}: `,
      make("span", { class: "key-in" }, "in (filled)"), ", ", make("span", { class: "key-out" }, "out (dashed)")));
  }

  function provenance(place) {
    const runs = place.runs.map((run) => data.runs[run]);
    const names = [...new Set(runs.flatMap((run) => Object.keys(run)))].filter((name) => name !== "seed");
    const list = make("dl");
    for (const name of names) {
      const values = runs.map((run) => run[name] || "–");
      const alike = values.every((value) => value === values[0]);
      const lines = alike ? [values[0]] : values.map((value, at) => `seed ${runs[at].seed}: ${value}`);
      list.append(make("dt", {}, name), make("dd", {}, ...lines.flatMap((line, at) => at ? [make("br"), line] : [line])));
    }
    return make("section", {}, make("h3", {}, "Where it comes from"), list);
  }

  const commands = (place) => make("section", {}, make("h3", {}, "Make it again"),
    ...place.commands.map((command) => make("pre", { tabindex: "0" }, command)));

  // ------------------------------------------------------------------------------------------ start

  for (const region of regions) {
    const sortable = region.querySelector("tbody.ours") ? region.querySelectorAll("thead th") : [];
    for (const head of sortable) {
      const button = make("button", { type: "button", class: "sort" }, ...head.childNodes);
      button.addEventListener("click", () => sortBy(head));
      head.append(button);
    }
    for (const cell of region.querySelectorAll("td[data-place]")) {
      const button = make("button", { type: "button", class: "open", "aria-haspopup": "dialog" }, ...cell.childNodes);
      button.addEventListener("click", () => open(button));
      cell.append(button);
    }
  }
  byId("metric").addEventListener("change", showMetric);
  byId("filter").addEventListener("input", filterRows);
  panel.addEventListener("click", (event) => { if (event.target === panel) panel.close(); });
  if (byId("introduction") && window.innerWidth < 640) byId("introduction").open = false;
  byId("tools").hidden = false;
  showMetric();
})();
