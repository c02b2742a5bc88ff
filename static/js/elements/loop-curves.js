// <loop-curves src="…/curves/" data-source="id-of-json" data-live data-word-…="…"></loop-curves>
//
// Draws a loop's metrics: by step (rounds side by side, a thin line where one begins) and by round with intervals.
// The first numbers come from a json_script; a running loop is asked `?since=TOKEN` (204: nothing new) and only the
// new points travel. Colours are the tokens', read again when the theme changes. Each chart has its table of numbers.
import uPlot from "../../vendor/uPlot.esm.js";

const EVERY = 2000;
const HEIGHT = 180;

// by step: key, names of its lines, metrics, colours (tokens), fixed range
const BY_STEP = [
  { key: "loss", metrics: ["loss"], colours: ["--ink"] },
  { key: "margin", metrics: ["rewards/margins"], colours: ["--running"] },
  { key: "accuracy", metrics: ["rewards/accuracies"], colours: ["--done"], range: [0, 1] },
  { key: "logps", metrics: ["logps/chosen", "logps/rejected"], names: ["chosen", "rejected"], colours: ["--ink", "--ink-3"], dashed: [false, true] },
];
const BY_ROUND = [
  { key: "gold", value: "gold_mean", interval: "gold_ci95", colour: "--ink" },
  { key: "win", value: "win_rate_vs_initial", interval: "win_rate_ci95", colour: "--done", guide: 0.5, percent: true },
  { key: "kl", value: "kl", interval: "kl_ci95", colour: "--running", zero: true },
  { key: "length", value: "mean_length", colour: "--ink-2" },
];

const colour = (token) => {
  const probe = document.createElement("span");
  probe.style.color = `var(${token})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
};
const short = (value) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text = size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3)));
  return text.replace("-", "−");
};
// with as many decimals as the step between ticks needs: no two read the same, and none is rounded
const tick = (value, step) => {
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return value.toLocaleString("en", { maximumFractionDigits: Math.min(decimals, 12) }).replace(/^-0$/, "0").replace("-", "−");
};
// a line of one point, or two, is seen by its points alone
const few = (plot, at) => plot.data[at].filter((value) => value !== null).length < 3;

const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);

class LoopCurves extends HTMLElement {
  connectedCallback() {
    const source = document.getElementById(this.dataset.source);
    const first = source ? JSON.parse(source.textContent) : { since: "", points: [], rounds: [] };
    this.points = first.points;
    this.rounds = first.rounds;
    this.since = first.since;
    this.charts = new Map();
    this.grid = document.createElement("div");
    this.grid.className = "curve-grid";
    this.append(this.grid);
    this.draw();
    this.resizer = new ResizeObserver(() => this.resize());
    this.resizer.observe(this);
    this.theme = new MutationObserver(() => this.redraw());
    this.theme.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.onDark = () => this.redraw();
    this.dark.addEventListener("change", this.onDark);
    if (this.hasAttribute("data-live")) this.plan();
  }

  disconnectedCallback() {
    clearTimeout(this.timer);
    this.stopped = true;
    this.resizer?.disconnect();
    this.theme?.disconnect();
    this.dark?.removeEventListener("change", this.onDark);
    for (const one of this.charts.values()) one.plot.destroy();
  }

  plan() {
    if (!this.stopped) this.timer = setTimeout(() => this.ask(), EVERY);
  }

  async ask() {
    if (document.hidden) return this.plan();
    try {
      const response = await fetch(`${this.getAttribute("src")}?since=${encodeURIComponent(this.since)}`, { credentials: "same-origin" });
      if (response.status === 403 || response.status === 404) return;
      if (response.status === 200) {
        const news = await response.json();
        this.points = news.reset ? news.points : this.points.concat(news.points);
        this.rounds = news.rounds;
        this.since = news.since;
        this.draw();
      }
      if (response.headers.get("X-Poll") === "stop") return;
    } catch {
      // offline: the next turn asks again
    }
    this.plan();
  }

  redraw() {
    for (const one of this.charts.values()) one.plot.destroy();
    this.charts.clear();
    this.grid.replaceChildren();
    this.draw();
  }

  // steps of all rounds in one line: a round begins where the one before ended
  steps() {
    const ends = new Map();
    for (const point of this.points) ends.set(point.round, Math.max(ends.get(point.round) || 0, point.step));
    const begins = new Map();
    let at = 0;
    for (const round of [...ends.keys()].sort((a, b) => a - b)) {
      begins.set(round, at);
      at += ends.get(round);
    }
    return { xs: this.points.map((point) => begins.get(point.round) + point.step), begins };
  }

  draw() {
    const { xs, begins } = this.steps();
    const drawn = [];
    for (const spec of BY_STEP) {
      const lines = spec.metrics.map((name) => this.points.map((point) => point[name] ?? null));
      if (!lines.some((line) => line.some((value) => value !== null))) continue;
      this.show(spec, [xs, ...lines], { begins, byRound: false });
      drawn.push(spec.key);
    }
    for (const spec of BY_ROUND) {
      const rows = this.rounds.filter((row) => row[spec.value] !== null && row[spec.value] !== undefined);
      if (rows.length < 1) continue;
      const bounds = rows.map((row) => row[spec.interval] || [null, null]);
      this.show(spec, [rows.map((row) => row.round), rows.map((row) => row[spec.value])], { bounds, rows, byRound: true });
      drawn.push(spec.key);
    }
    this.toggleAttribute("data-empty", drawn.length === 0);
    if (drawn.length === 0) {
      this.grid.replaceChildren(Object.assign(document.createElement("p"), { className: "muted curves-empty", textContent: this.dataset.wordEmpty }));
    } else {
      this.grid.querySelector(".curves-empty")?.remove();
    }
  }

  show(spec, data, extra) {
    let chart = this.charts.get(spec.key);
    if (!chart) {
      chart = this.make(spec, extra.byRound);
      this.charts.set(spec.key, chart);
    }
    Object.assign(chart.extra, extra);
    if (chart.plot) chart.plot.setData(data);
    else chart.plot = new uPlot(this.options(spec, chart), data, chart.holder);
    chart.data = data;
    chart.rows = () => this.rowsOf(spec, data, extra);
    if (chart.details.open) this.fill(chart);
  }

  make(spec, byRound) {
    const figure = document.createElement("figure");
    figure.className = "curve";
    const caption = document.createElement("figcaption");
    const title = this.dataset[`title${spec.key[0].toUpperCase()}${spec.key.slice(1)}`] || spec.key;
    caption.append(Object.assign(document.createElement("span"), { className: "curve-title", textContent: title }));
    const now = Object.assign(document.createElement("span"), { className: "curve-now mono" });
    caption.append(now);
    const holder = Object.assign(document.createElement("div"), { className: "curve-holder" });
    holder.setAttribute("role", "img");
    holder.setAttribute("aria-label", title);
    const details = document.createElement("details");
    details.className = "curve-table";
    const summary = Object.assign(document.createElement("summary"), { textContent: this.dataset.wordTable });
    summary.append(Object.assign(document.createElement("span"), { className: "visually-hidden", textContent: `: ${title}` }));
    details.append(summary);
    figure.append(caption, holder, details);
    this.grid.append(figure);
    const chart = { figure, holder, details, now, title, extra: { byRound }, plot: null };
    details.addEventListener("toggle", () => details.open && this.fill(chart));
    return chart;
  }

  options(spec, chart) {
    const ink = colour("--ink-2");
    const line = colour("--line");
    const strong = colour("--line-strong");
    const format = spec.percent ? percent : short;
    const byRound = chart.extra.byRound;
    const axis = { stroke: ink, font: "12px system-ui, sans-serif", grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
    const series = byRound
      ? [{ stroke: colour(spec.colour), width: 2, points: { show: true, size: 7, width: 2, fill: colour("--surface") } }]
      : spec.metrics.map((name, at) => ({ stroke: colour(spec.colours[at]), width: 1.75, points: { show: few, size: 7 }, dash: spec.dashed?.[at] ? [5, 4] : undefined, spanGaps: true }));
    return {
      width: Math.max(160, chart.holder.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { sync: { key: byRound ? `rounds-${this.getAttribute("src")}` : `steps-${this.getAttribute("src")}` }, drag: { x: false, y: false }, points: { size: 7 }, y: false },
      scales: {
        x: { time: false, range: (u) => { const last = u.data[0].at(-1) ?? 1; return byRound ? [-0.25, Math.max(last, 1) + 0.25] : [0, Math.max(last, 2)]; } },
        y: { range: (u, low, high) => this.range(spec, chart, low, high) },
      },
      axes: [
        { ...axis, size: 28, space: 44, incrs: byRound ? [1, 2, 5, 10, 20, 50, 100] : [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000], grid: { show: false }, values: (u, values) => values.map((value) => (value < 0 ? "" : short(value))) },
        { ...axis, size: 52, space: 34, values: (u, values, _, __, step) => values.map((value) => (spec.percent ? `${tick(100 * value, 100 * step)} %` : tick(value, step))) },
      ],
      series: [{}, ...series],
      hooks: {
        drawClear: [(u) => this.marks(u, spec, chart, strong)],
        draw: [(u) => this.intervals(u, spec, chart)],
        setCursor: [(u) => this.say(u, spec, chart, format)],
        setData: [(u) => this.say(u, spec, chart, format)],
        ready: [(u) => this.say(u, spec, chart, format)],
      },
    };
  }

  range(spec, chart, low, high) {
    if (spec.range) return spec.range;
    let [a, b] = [low ?? 0, high ?? 1];
    for (const [from, to] of chart.extra.bounds || []) {
      if (from !== null) [a, b] = [Math.min(a, from), Math.max(b, to)];
    }
    if (spec.guide !== undefined) [a, b] = [Math.min(a, spec.guide), Math.max(b, spec.guide)];
    if (spec.zero) a = Math.min(a, 0);
    const pad = (b - a || Math.abs(b) || 1) * 0.1;
    return [spec.zero && a === 0 ? 0 : a - pad, b + pad];
  }

  // thin lines: where a round begins, and what chance would give
  marks(u, spec, chart, stroke) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = stroke;
    ctx.globalAlpha = 0.55;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.beginPath();
    for (const at of chart.extra.begins?.values() || []) {
      if (at === 0) continue;
      const x = Math.round(u.valToPos(at, "x", true));
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
    }
    if (spec.guide !== undefined) {
      const y = Math.round(u.valToPos(spec.guide, "y", true));
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
    }
    ctx.stroke();
    ctx.restore();
  }

  intervals(u, spec, chart) {
    if (!chart.extra.bounds) return;
    const { ctx } = u;
    ctx.save();
    ctx.strokeStyle = colour(spec.colour);
    ctx.lineWidth = 2 * devicePixelRatio;
    ctx.lineCap = "round";
    ctx.globalAlpha = 0.45;
    ctx.beginPath();
    chart.extra.bounds.forEach(([low, high], at) => {
      if (low === null || high === null) return;
      const x = Math.round(u.valToPos(u.data[0][at], "x", true));
      ctx.moveTo(x, u.valToPos(low, "y", true));
      ctx.lineTo(x, u.valToPos(high, "y", true));
    });
    ctx.stroke();
    ctx.restore();
  }

  // the numbers under the cursor; without one, the last
  say(u, spec, chart, format) {
    const at = u.cursor?.idx ?? u.data[0].length - 1;
    if (at === undefined || at < 0 || u.data[0][at] === undefined) return;
    const names = spec.names?.map((name) => this.dataset[`name${name[0].toUpperCase()}${name.slice(1)}`] || name);
    const values = u.data.slice(1).map((line, k) => `${names ? `${names[k]} ` : ""}${format(line[at])}`);
    const where = chart.extra.byRound ? this.measuredAt(chart.extra.rows[at]) : this.whereIs(at);
    const bounds = chart.extra.bounds?.[at];
    const interval = bounds && bounds[0] !== null ? ` [${format(bounds[0])}, ${format(bounds[1])}]` : "";
    chart.now.textContent = `${values.join(" · ")}${interval.replaceAll(" %", "")}`;
    chart.now.title = where;
  }

  // a policy on the way stands between two rounds, and belongs to the later one
  measuredAt(row) {
    const round = `${this.dataset.wordRound} ${Math.ceil(row.round)}`;
    return row.step ? `${round}, ${this.dataset.wordStep} ${row.step}` : round;
  }

  whereIs(at) {
    const point = this.points[at];
    return point ? `${this.dataset.wordRound} ${point.round}, ${this.dataset.wordStep} ${point.step}` : "";
  }

  rowsOf(spec, data, extra) {
    if (extra.byRound) {
      const format = spec.percent ? percent : short;
      return [
        [this.dataset.wordRound, spec.value.replaceAll("_", " "), this.dataset.low, this.dataset.high],
        ...extra.rows.map((row, at) => [row.step ? this.measuredAt(row) : row.round, format(data[1][at]), format(extra.bounds[at][0]), format(extra.bounds[at][1])]),
      ];
    }
    return [
      [this.dataset.wordRound, this.dataset.wordStep, ...spec.metrics],
      ...this.points.map((point) => [point.round, point.step, ...spec.metrics.map((name) => short(point[name]))]),
    ];
  }

  fill(chart) {
    const [head, ...body] = chart.rows();
    const table = document.createElement("table");
    table.className = "table table-compact";
    const row = (cells, tag) => {
      const line = document.createElement("tr");
      for (const cell of cells) {
        const made = Object.assign(document.createElement(tag), { textContent: cell, className: "number" });
        if (tag === "th") made.scope = "col";
        line.append(made);
      }
      return line;
    };
    const caption = Object.assign(document.createElement("caption"), { className: "visually-hidden", textContent: chart.title });
    const thead = document.createElement("thead");
    thead.append(row(head, "th"));
    const tbody = document.createElement("tbody");
    tbody.append(...body.map((cells) => row(cells, "td")));
    table.append(caption, thead, tbody);
    const box = Object.assign(document.createElement("div"), { className: "curve-rows", tabIndex: 0 });
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", chart.title);
    box.append(table);
    chart.details.querySelector(".curve-rows")?.remove();
    chart.details.append(box);
  }

  resize() {
    for (const { plot, holder } of this.charts.values()) {
      const width = Math.max(160, holder.clientWidth);
      if (Math.abs(plot.width - width) > 1) plot.setSize({ width, height: HEIGHT });
    }
  }
}

customElements.define("loop-curves", LoopCurves);
