// The page of bitquant lab. It lays out what the library answers, and computes no figure of its own.

const byId = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

/** Make an element: its attributes, and its children or texts. */
function make(name, attributes = {}, ...children) {
  const svg = ["g", "rect", "line", "text", "path", "defs", "pattern"].includes(name);
  const element = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const show = (id, text) => { byId(id).textContent = text ?? "–"; };

/** Ask the library. An error is thrown as its sentence. */
async function ask(address, question, signal) {
  const reply = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(question),
    signal,
  });
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

/** A function that asks, and of several questions in a row shows the answer to the last one alone. */
function latest(problem, shown) {
  let running = null;
  return async (address, question) => {
    running?.abort();
    running = new AbortController();
    try {
      const answer = await ask(address, question, running.signal);
      byId(problem).textContent = "";
      shown(answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      byId(problem).textContent = error instanceof TypeError ? "The lab no longer answers: is it still running?" : error.message;
    }
  };
}

function fill(select, names, chosen) {
  select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  if (chosen !== undefined) select.value = chosen;
}

function fillFormats(select, formats, chosen) {
  const kinds = { float: "floating", integer: "integers", codebook: "codebooks" };
  select.replaceChildren(...Object.entries(kinds).map(([kind, label]) =>
    make("optgroup", { label }, ...formats.filter((row) => row.kind === kind).map((row) => make("option", { value: row.name }, row.name)))));
  select.value = chosen;
}

// --- The bits of a number -------------------------------------------------------------------------------------

const askCode = latest("bits-problem", showCode);
let shownFormat = "";
let shownCode = null; // the last answer

function bitButtons() {
  return [...byId("bit-row").querySelectorAll("button")];
}

function press(button, bit) {
  button.textContent = bit;
  button.setAttribute("aria-pressed", bit === "1");
}

function drawBits(answer) {
  byId("bit-row").replaceChildren(...answer.fields.map((field) => {
    const buttons = [];
    for (let k = 0; k < field.bits; k++) buttons.push(make("button", { type: "button", class: "bit" }));
    return make("fieldset", { class: `field ${field.name}` }, make("legend"), make("div", { class: "bits" }, ...buttons));
  }));
  bitButtons().forEach((button, place) => {
    button.tabIndex = place === 0 ? 0 : -1; // one stop for the Tab key; arrows move between bits
    button.addEventListener("click", () => {
      press(button, button.textContent === "1" ? "0" : "1"); // at once: another may be clicked before the answer
      askCode("/api/code", { format: shownFormat, bits: bitButtons().map((other) => other.textContent).join("") });
    });
  });
}

function showCode(answer) {
  shownCode = answer;
  if (answer.format !== shownFormat) {
    shownFormat = answer.format;
    byId("bits-format").value = answer.format;
    drawBits(answer);
  }
  const legends = byId("bit-row").querySelectorAll("legend");
  const names = [];
  answer.fields.forEach((field, k) => {
    legends[k].textContent = field.bits === 1 ? field.name : `${field.name} = ${field.value}`;
    for (let place = 0; place < field.bits; place++) {
      names.push(field.bits === 1 ? `${field.name} bit` : `${field.name} bit ${place + 1} of ${field.bits}`);
    }
  });
  bitButtons().forEach((button, place) => {
    press(button, answer.bits[place]);
    button.setAttribute("aria-label", names[place]);
  });
  show("code-value", answer.value);
  show("code-class", answer.class);
  show("code-code", answer.code);
  show("code-exact", answer.exact);
  show("code-rational", answer.rational);
  show("code-hex", answer.hex);
  show("code-spacing", answer.spacing);
  show("code-interval", answer.interval?.text);
  show("code-interval-words", answer.interval?.words ?? "nothing");
  for (const side of ["below", "above"]) {
    const near = answer[side];
    const place = byId(`code-${side}`);
    const held = place.contains(document.activeElement);
    place.replaceChildren(near ? make("button", { type: "button" }, near.value) : "–");
    const button = place.querySelector("button");
    button?.addEventListener("click", () => askCode("/api/code", { format: shownFormat, bits: near.bits }));
    if (held) (button ?? bitButtons()[0]).focus();
  }
  drawLine(answer);
  show("bits-status", `${answer.value}, ${answer.class}, code ${answer.code}`);
}

function drawLine(answer) {
  const line = answer.line;
  byId("line").style.display = line ? "" : "none";
  if (!line) return;
  const width = byId("line").clientWidth;
  const x = (place) => 70 + (width - 140) * place;
  const texts = { this: answer.value, below: answer.below?.value, above: answer.above?.value };
  const parts = [make("line", { class: "axis", x1: 10, x2: width - 10, y1: 36, y2: 36 })];
  if (line.interval) {
    const [from, to] = line.interval.map(x);
    parts.push(make("rect", { class: "interval", x: from, width: to - from, y: 26, height: 20 }));
  }
  for (const mark of line.marks) {
    parts.push(make("line", { class: `mark ${mark.name}`, x1: x(mark.at), x2: x(mark.at), y1: 22, y2: 50 }));
    parts.push(make("text", { x: x(mark.at), y: mark.name === "this" ? 15 : 66 }, texts[mark.name] ?? ""));
  }
  byId("line-title").textContent = `${answer.value} on a line between its neighbours, and the real numbers that are rounded to it: ${answer.interval.words}`;
  byId("line").querySelector("g").replaceChildren(...parts);
}

function startBits(start) {
  fillFormats(byId("bits-format"), start.formats, start.first.format);
  byId("find-text").value = start.first.text;
  const find = () => askCode("/api/find", { format: byId("bits-format").value, text: byId("find-text").value });
  byId("bits-format").addEventListener("change", find);
  byId("find").addEventListener("submit", (event) => { event.preventDefault(); find(); });
  byId("bit-row").addEventListener("keydown", (event) => {
    const buttons = bitButtons();
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const next = buttons[Math.min(Math.max(to, 0), buttons.length - 1)];
    buttons[at].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  new ResizeObserver(() => { if (shownCode) drawLine(shownCode); }).observe(byId("bits"));
  find();
}

// --- One number, every rounding -------------------------------------------------------------------------------

const askRounded = latest("round-problem", showRounded);
const WAYS = { up: ["▲", "rounded up"], down: ["▼", "rounded down"], exact: ["=", "exact"] };

function showRounded(answer) {
  show("round-exact", (answer.exact ?? answer.value) + (answer.source ? ` (bits of ${answer.source})` : ""));
  show("round-rational", answer.rational);
  byId("round-table").tBodies[0].replaceChildren(...answer.rows.map((row) =>
    make("tr", {}, make("th", { scope: "row" }, row.format), ...row.cells.map(cellOf))));
  const first = answer.rows.map((row) => `${row.format} ${row.cells[0].value ?? "refused"}`);
  show("round-status", `To nearest even: ${first.join("; ")}`);
}

function cellOf(cell) {
  if (cell.refused) return make("td", { title: cell.refused }, make("small", {}, "refused"), make("span", { class: "sr-only" }, cell.refused));
  const [sign, words] = WAYS[cell.way] ?? ["", ""];
  const value = make("span", { class: "value" }, make("span", { "aria-hidden": "true" }, `${sign} `), cell.value);
  const parts = [value, make("span", { class: "sr-only" }, ` ${words}`), make("small", {}, cell.code)];
  if (cell.ulps) parts.push(make("small", {}, `${cell.ulps} ulp`));
  const flags = cell.flags.filter((flag) => flag !== "inexact");
  if (flags.length) parts.push(make("small", {}, flags.join(", ")));
  return make("td", {}, ...parts);
}

function startRounding(start) {
  fillFormats(byId("round-source"), start.formats, start.first.format);
  byId("round-text").value = start.first.text;
  byId("round-table").tHead.rows[0].replaceChildren(make("th", { scope: "col" }, "format"),
    ...start.roundings.map((row) => make("th", { scope: "col", title: row.what }, row.name)));
  const checks = byId("round-formats").querySelector("fieldset");
  for (const row of start.formats) {
    const box = make("input", { type: "checkbox", value: row.name });
    box.checked = start.first.formats.includes(row.name);
    checks.append(make("label", {}, box, ` ${row.name}`));
  }
  const round = () => askRounded("/api/round", {
    text: byId("round-text").value,
    source: byId("round-source").value,
    formats: [...checks.querySelectorAll("input:checked")].map((box) => box.value),
  });
  byId("round-text").addEventListener("input", round);
  byId("round-source").addEventListener("change", round);
  checks.addEventListener("change", round);
  round();
}

// --- A real layer ---------------------------------------------------------------------------------------------

const askTensor = latest("layer-problem", showTensor);
const askQuantized = latest("layer-problem", showQuantized);
let before = ""; // the accuracy with nothing quantized
let images = 0;
let ends = { low: "0", high: "0" }; // as the library gave them: a slider would round them to its steps

function drawBars(svg, bars, height, titles) {
  const width = 600 / bars.length;
  svg.replaceChildren(...bars.map((bar, k) => make("rect", {
    class: "bar", x: k * width, width: width * (bars.length > 64 ? 1.02 : 0.85), y: height * (1 - 0.95 * bar.height), height: height * 0.95 * bar.height,
  })));
  if (titles) svg.append(...titles);
}

function drawTicks(id, ticks) {
  byId(id).replaceChildren(...ticks.map((tick) => {
    const side = tick.at < 0.04 ? "first" : tick.at > 0.96 ? "last" : "";
    const label = make("span", { class: side }, tick.text);
    label.style.left = `${100 * tick.at}%`;
    return label;
  }));
}

function showTensor(answer) {
  for (const id of ["low", "high"]) Object.assign(byId(id), answer.slider);
  const pattern = make("pattern", { id: "hatch", width: 8, height: 8, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    make("line", { class: "hatch", x1: 0, x2: 0, y1: 0, y2: 8 }));
  drawBars(byId("histogram"), answer.bars, 200, [
    make("defs", {}, pattern),
    make("rect", { fill: "url(#hatch)", id: "outside-low", x: 0, y: 0, width: 0, height: 200 }),
    make("rect", { fill: "url(#hatch)", id: "outside-high", x: 0, y: 0, width: 0, height: 200 }),
  ]);
  drawTicks("histogram-ticks", answer.ticks);
  show("histogram-title", `${answer.layer}: ${answer.numbers} weights (${answer.shape}) from ${answer.min} to ${answer.max}; heights logarithmic, what is clipped is hatched`);
  calibrate();
}

function drawEnds() {
  const [low, high] = [byId("low"), byId("high")];
  const place = (input) => 600 * (input.value - input.min) / (input.max - input.min);
  byId("outside-low").setAttribute("width", place(low));
  byId("outside-high").setAttribute("x", place(high));
  byId("outside-high").setAttribute("width", 600 - place(high));
}

function showQuantized(answer) {
  ends = { low: answer.low, high: answer.high };
  for (const id of ["low", "high"]) {
    byId(id).value = answer[id];
    byId(id).setAttribute("aria-valuetext", `${answer[`${id}_text`]}, code ${id === "low" ? answer.qmin : answer.qmax}`);
  }
  drawEnds();
  show("q-range", answer.range);
  show("q-scale", answer.scale);
  show("q-step", answer.step);
  show("q-zero", answer.zero_point);
  show("q-codes", `${answer.codes_used} of ${answer.codes.length} in use, ${answer.qmin} to ${answer.qmax}`);
  show("q-accuracy", `${answer.accuracy} (FP32 ${before}); ${answer.wrong} of ${images} wrong`);
  show("q-sqnr", answer.sqnr);
  show("q-clipped", `${answer.clipped} numbers, ${answer.clipped_percent}`);
  show("q-mse", `${answer.mse}: rounding ${answer.mse_rounding}, clipping ${answer.mse_clipping}`);
  show("q-max", answer.max_abs);
  drawBars(byId("codes"), answer.codes, 80);
  drawTicks("codes-ticks", answer.code_ticks);
  byId("samples").tBodies[0].replaceChildren(...answer.samples.map((row) =>
    make("tr", {}, ...["number", "code", "value", "error"].map((key) => make("td", {}, String(row[key]))))));
  show("layer-status", `Range ${answer.range}: accuracy ${answer.accuracy}, SQNR ${answer.sqnr}, ${answer.clipped_percent} clipped`);
}

const chosen = () => ({ layer: byId("layer-name").value, scheme: byId("layer-scheme").value, bits: Number(byId("layer-bits").value) });

function calibrate() {
  const method = byId("layer-method").value;
  if (method) askQuantized("/api/quantize", { ...chosen(), method });
  else askQuantized("/api/quantize", { ...chosen(), ...ends });
}

function startLayer(start) {
  before = start.accuracy;
  images = start.images;
  fill(byId("layer-name"), start.layers);
  fill(byId("layer-scheme"), start.schemes);
  fill(byId("layer-bits"), ["8", "7", "6", "5", "4", "3", "2"], "4");
  byId("layer-method").replaceChildren(make("option", { value: "" }, "hand"),
    ...start.methods.map((row) => make("option", { value: row.name }, `${row.name}: ${row.what}`)));
  byId("layer-method").value = "minmax";
  byId("layer-name").addEventListener("change", () => {
    if (!byId("layer-method").value) byId("layer-method").value = "minmax";
    askTensor("/api/tensor", { layer: byId("layer-name").value });
  });
  for (const id of ["layer-scheme", "layer-bits", "layer-method"]) byId(id).addEventListener("change", calibrate);
  for (const id of ["low", "high"]) {
    byId(id).addEventListener("input", () => {
      byId("layer-method").value = "";
      ends = { ...ends, [id]: byId(id).value };
      drawEnds();
      askQuantized("/api/quantize", { ...chosen(), ...ends, moved: id });
    });
  }
  askTensor("/api/tensor", { layer: start.layers[0] });
}

try {
  const start = await ask("/api/start", {});
  startBits(start);
  startRounding(start);
  startLayer(start);
} catch (error) {
  byId("bits-problem").textContent = `The lab could not start: ${error.message}`;
}
