"use strict";
// Charts, tables that sort, and the viewer of masks. All data is in the page.

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const coarse = window.matchMedia("(pointer: coarse)").matches;

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A figure's layout with the page's colours; axes by their own names.
function dressed(figure, narrow) {
  const ink = colour("--ink"), line = colour("--line");
  const layout = structuredClone(figure.layout);
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
    font: {color: ink, size: narrow ? 11 : 13, family: getComputedStyle(document.body).fontFamily},
    margin: {l: 10, r: 10, t: 30, b: 10}, dragmode: coarse ? false : "zoom",
    modebar: {bgcolor: "rgba(0,0,0,0)", color: colour("--soft"), activecolor: colour("--accent")},
    hoverlabel: {bgcolor: colour("--panel"), bordercolor: line, font: {color: ink}, align: "left"},
    legend: {orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: {size: narrow ? 10 : 12}},
  });
  for (const axis of ["xaxis", "yaxis"]) {
    layout[axis] = {automargin: true, ...layout[axis],
                    gridcolor: line, zerolinecolor: line, linecolor: line};
  }
  return layout;
}

// Ticks of a logarithmic axis: as dense as there is room for, each with its whole number.
function logTicks(low, high, most) {
  for (const digits of [[1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 5, 7], [1, 2, 5], [1, 3]]) {
    const gap = Math.min(...digits.map((digit, i) => Math.log10((digits[i + 1] ?? 10) / digit)));
    if ((high - low) / gap <= most && high - low > 0.7) return decades(low, high, digits, 1);
  }
  if (high - low > 0.7) return decades(low, high, [1], Math.ceil((high - low) / most));
  const [from, to] = [10 ** low, 10 ** high], rough = (to - from) / Math.min(most, 8);
  const unit = 10 ** Math.floor(Math.log10(rough));       // less than a decade: even steps
  const step = [1, 2, 5, 10].find(digit => digit * unit >= rough) * unit;
  const values = [];
  for (let i = Math.ceil(from / step); i * step <= to; i++) values.push(+(i * step).toPrecision(9));
  return values;
}

function decades(low, high, digits, every) {
  const values = [];
  for (let power = Math.floor(low / every) * every; power <= high; power += every) {
    for (const digit of digits) {
      const value = +`${digit}e${power}`, at = Math.log10(value);
      if (at >= low && at <= high) values.push(value);
    }
  }
  return values;
}

// After a chart is drawn, zoomed or resized: logarithmic axes that have no ticks of their own.
function retick(place) {
  const given = figures[shown.get(place)].layout, change = {};
  for (const [name, room] of [["xaxis", 44], ["yaxis", 26]]) {
    const axis = place._fullLayout[name], own = given[name];
    if (axis?.type !== "log" || own?.tickvals || own?.dtick) continue;
    const [low, high] = axis.range.toSorted((a, b) => a - b);
    const values = logTicks(low, high, Math.max(1, axis._length / room));
    if (JSON.stringify(values) === JSON.stringify(axis.tickvals)) continue;
    change[`${name}.tickvals`] = values;
    change[`${name}.ticktext`] = values.map(value => (own?.tickprefix ?? "")
      + value.toLocaleString("en", {maximumSignificantDigits: 9}) + (own?.ticksuffix ?? ""));
  }
  return Object.keys(change).length ? Plotly.relayout(place, change) : undefined;
}

const figures = JSON.parse(document.getElementById("figures").textContent);
const shown = new Map();        // chart's element to its figure's name

async function draw(place, name) {
  const first = !shown.has(place);
  shown.set(place, name);
  const figure = figures[name], narrow = place.clientWidth < 520, bare = narrow || coarse;
  place.classList.toggle("tools", !bare);       // room for the toolbar, above the legend
  await Plotly.react(place, structuredClone(figure.data), dressed(figure, narrow), {
    responsive: true, displaylogo: false, showSendToCloud: false,
    displayModeBar: bare ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"],
  });
  await retick(place);
  if (first) place.on("plotly_afterplot", () => retick(place));
}

async function drawAll() {
  for (const place of document.querySelectorAll(".chart")) {
    const choice = document.querySelector(`select[data-shows="${place.dataset.figure}"]`);
    await draw(place, choice ? choice.value : place.dataset.figure);
  }
  document.documentElement.dataset.drawn = String(shown.size);
}

for (const choice of document.querySelectorAll("select[data-shows]")) {
  const place = document.querySelector(`.chart[data-figure="${choice.dataset.shows}"]`);
  choice.addEventListener("change", () => draw(place, choice.value));
}
dark.addEventListener("change", () => {
  for (const [place, name] of shown) draw(place, name);
});

// Tables: a click sorts, another one turns the order.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[column].dataset.value;
    const text = row => row.cells[column].textContent;
    const order = (a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x !== undefined && y !== undefined) return (x - y) * (down ? -1 : 1);
      if (x === undefined && y === undefined) {
        return text(a).localeCompare(text(b), "en", {numeric: true}) * (down ? -1 : 1);
      }
      return x === undefined ? 1 : -1;      // what is not known stays at the end
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  }));
}

// The viewer: one mask, zoomed by wheel, two fingers or buttons, moved by dragging.
function viewer(box) {
  const view = box.querySelector(".view"), image = view.querySelector("img");
  const where = box.querySelector(".where"), pointers = new Map();
  let tile = null, fit = 1, scale = 1, x = 0, y = 0, spread = 0;

  function place() {
    const w = image.naturalWidth * fit * scale, h = image.naturalHeight * fit * scale;
    const W = view.clientWidth, H = view.clientHeight;
    x = w <= W ? (W - w) / 2 : Math.min(0, Math.max(W - w, x));
    y = h <= H ? (H - h) / 2 : Math.min(0, Math.max(H - h, y));
    image.style.transform = `translate(${x}px, ${y}px) scale(${fit * scale})`;
    view.classList.toggle("zoomed", scale > 1);
    view.dataset.scale = String(scale);
  }

  function whole() {
    if (!image.naturalWidth) return;
    fit = Math.min(view.clientWidth / image.naturalWidth, view.clientHeight / image.naturalHeight);
    scale = 1;
    place();
  }

  function zoom(factor, left, top) {
    const next = Math.min(64 / fit, Math.max(1, scale * factor)), by = next / scale;
    x = left - (left - x) * by;
    y = top - (top - y) * by;
    scale = next;
    place();
  }

  function at(event) {
    const edge = view.getBoundingClientRect();
    return [event.clientX - edge.left, event.clientY - edge.top];
  }

  function tell(left, top) {
    if (!tile) return;
    const input = Math.floor((left - x) / (fit * scale) / image.naturalWidth * tile.dataset.inputs);
    const output = Math.floor(
      (top - y) / (fit * scale) / image.naturalHeight * tile.dataset.outputs);
    const inside = input >= 0 && input < +tile.dataset.inputs
      && output >= 0 && output < +tile.dataset.outputs;
    where.textContent = inside ? `output ${output}, input ${input}` : "";
  }

  view.addEventListener("wheel", event => {
    event.preventDefault();
    zoom(2 ** (-event.deltaY / 300), ...at(event));
  }, {passive: false});
  view.addEventListener("pointerdown", event => {
    pointers.set(event.pointerId, at(event));
    view.setPointerCapture(event.pointerId);
    spread = 0;
  });
  view.addEventListener("pointermove", event => {
    const now = at(event), before = pointers.get(event.pointerId);
    tell(...now);
    if (!before) return;
    pointers.set(event.pointerId, now);
    if (pointers.size === 1) {
      x += now[0] - before[0];
      y += now[1] - before[1];
      place();
    } else {
      const [a, b] = [...pointers.values()];
      const wide = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (spread) zoom(wide / spread, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      spread = wide;
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    view.addEventListener(kind, event => { pointers.delete(event.pointerId); spread = 0; });
  }
  for (const button of box.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => +button.dataset.zoom
      ? zoom(+button.dataset.zoom, view.clientWidth / 2, view.clientHeight / 2) : whole());
  }
  image.addEventListener("load", whole);
  new ResizeObserver(whole).observe(view);

  const tiles = [...document.querySelectorAll(".tile")];
  function choose(one) {
    tile = one;
    tiles.forEach(other => other.setAttribute("aria-pressed", String(other === one)));
    const picture = one.querySelector("img");
    image.src = picture.src;
    image.alt = picture.alt;
    box.querySelector("b").textContent = one.dataset.name;
    box.querySelector("span").textContent = one.dataset.what;
    where.textContent = "";
  }
  tiles.forEach(one => one.addEventListener("click", () => choose(one)));
  if (tiles.length) choose(tiles[0]);
}

const box = document.getElementById("viewer");
if (box) viewer(box);
drawAll();
