// The graphs of a pair. uPlot (window.uPlot) comes as a classic script before this module.

const root = document.getElementById("graphs");
const names = { out: `${root.dataset.from} → ${root.dataset.to}`,
                back: `${root.dataset.to} → ${root.dataset.from}` };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const ms = (value) => (value == null ? "–" : `${value.toFixed(2)} ms`);
const redraws = [];

async function get(address) {
  const answer = await fetch(address);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.message);
  return body;
}

function axes(unit) {
  const line = { stroke: colour("--soft"), grid: { stroke: colour("--line"), width: 1 },
                 ticks: { stroke: colour("--line") }, font: "11px system-ui, sans-serif" };
  // Days and 24 hours, whatever the language of the browser: all times are UTC.
  const day = "\n{D} {MMM}";
  const times = [
    [86400 * 28, "{MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [86400, "{D} {MMM}", "\n{YYYY}", null, null, null, null, null, 1],
    [60, "{HH}:{mm}", day, null, day, null, null, null, 1],
  ];
  return [{ ...line, values: times }, { ...line, size: 70, values: (_, ticks) => ticks.map((t) => `${t}${unit}`) }];
}

function plot(into, options, data) {
  let chart;
  const draw = () => {
    chart?.destroy();
    chart = new window.uPlot({ width: into.clientWidth, ...options() }, data, into);
    chart.root.setAttribute("aria-hidden", "true");
  };
  draw();
  redraws.push(draw);
  new ResizeObserver(() => {
    if (chart.width !== into.clientWidth)
      chart.setSize({ width: into.clientWidth, height: chart.height });
  }).observe(into);
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const draw of redraws) draw();
});

const UTC = (stamp) => window.uPlot.tzDate(new Date(stamp * 1000), "UTC");

// Rows at even steps, with nulls where there is none: a gap in the data is a gap in the line.
function even(rows, step) {
  const at = new Map(rows.map((row) => [Date.parse(row.at) / 1000, row]));
  const times = [...at.keys()].sort((a, b) => a - b);
  const xs = [];
  for (let t = times[0]; t <= times[times.length - 1]; t += step) xs.push(t);
  return { xs, pick: (field) => xs.map((t) => at.get(t)?.[field] ?? null) };
}

// Which of the drawn points have samples that were measured in several ways.
function mixed(rows) {
  const found = rows.filter((row) => row.methods.length > 1);
  if (!found.length) return undefined;
  const methods = [...new Set(found.flatMap((row) => row.methods))].sort().join(", ");
  const last = found[found.length - 1].at;
  return `${found.length} of ${rows.length} points are mixed, measured in several ways (${methods}): ${found[0].at} to ${last}.`;
}

// Vertical lines where the level of this pair changed: [day, what] each.
const marks = JSON.parse(root.dataset.marks).map(([day]) => Date.parse(day) / 1000);

function drawMarks(chart) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.strokeStyle = colour("--bad-strong");
  ctx.setLineDash([4, 4]);
  for (const at of marks) {
    const x = chart.valToPos(at, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function history(into, rows, backRows, step, key) {
  const { xs, pick } = even(rows, step);
  const back = new Map(backRows.map((row) => [Date.parse(row.at) / 1000, row.p_50]));
  const data = [xs, pick("p_10"), pick("p_90"), pick("p_50"), pick("p_99")];
  if (backRows.length) data.push(xs.map((t) => back.get(t) ?? null));
  const cursor = { sync: { key }, points: { size: 6 } };
  const value = (_, v) => ms(v);
  const line = (label, stroke, more) => ({ label, stroke, value, points: { show: false }, ...more });
  plot(into, () => ({
    height: 250, tzDate: UTC, cursor, axes: axes(" ms"), hooks: { draw: [drawMarks] },
    series: [
      { label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
      line("p10", "transparent"),
      line("p90", "transparent"),
      line("p50", colour("--accent"), { width: 2 }),
      line("p99", colour("--soft"), { width: 1 }),
      ...(backRows.length ? [line(`p50 ${names.back}`, colour("--back"), { width: 1.5, dash: [5, 4] })] : []),
    ],
    bands: [{ series: [2, 1], fill: colour("--band") }],
  }), data);
  const loss = pick("loss_pct");
  const most = Math.max(1, ...loss);
  plot(into, () => ({
    height: 100, tzDate: UTC, cursor,
    axes: axes(" %").map((axis, i) => (i ? { ...axis, splits: () => [0, most / 2, most],
      values: (_, ticks) => ticks.map((t) => `${+t.toFixed(1)} %`) } : axis)),
    scales: { y: { range: [0, most] } },
    series: [
      { label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
      { label: "loss", stroke: colour("--bad-strong"), fill: colour("--bad-strong"),
        value: (_, v) => (v == null ? "–" : `${v.toFixed(2)} %`), points: { show: false },
        paths: window.uPlot.paths.bars({ size: [0.8, 12] }) },
    ],
  }), [xs, loss]);
}

// Each percentile between the samples that enclose it in 95 of 100 cases.
function trust(percentiles, samples) {
  const table = document.createElement("table");
  table.className = "list trust";
  const caption = table.createCaption();
  caption.textContent = `Percentiles of ${samples.toLocaleString("en")} samples, with the exact 95 % interval of each, in ms. `;
  const how = document.createElement("a");
  how.href = "/method";
  how.textContent = "How";
  caption.append(how);
  const rows = [
    ["", ...percentiles.map((one) => `p${one.p}`)],
    ["value", ...percentiles.map((one) => one.value_ms.toFixed(2))],
    ["from", ...percentiles.map((one) => one.low_ms?.toFixed(2) ?? "–")],
    ["to", ...percentiles.map((one) => one.high_ms?.toFixed(2) ?? "–")],
  ];
  rows.forEach((texts, i) => {
    const row = (i ? table.tBodies[0] ?? table.createTBody() : table.createTHead()).insertRow();
    texts.forEach((text, k) => {
      const cell = document.createElement(text && (!i || !k) ? "th" : "td");
      if (cell.tagName === "TH") cell.scope = i ? "row" : "col";
      if (k) cell.className = "n";
      cell.textContent = text;
      row.append(cell);
    });
  });
  const scroll = document.createElement("div");
  scroll.className = "scroll plain";
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Percentiles with their intervals");
  scroll.append(table);
  return scroll;
}

const DRAW = {
  async day(into) {
    const [rows, back] = await both("history");
    if (rows.length < 2) return "Not enough days yet.";
    history(into, rows, back, 86400, "day");
    return mixed(rows);
  },
  async hour(into) {
    const [rows, back] = await both("history?resolution=hour");
    if (rows.length < 2) return "Not enough hours yet.";
    history(into, rows, back, 3600, "hour");
    return mixed(rows);
  },
  async samples(into) {
    const { data } = await get(`${root.dataset.base}/samples`);
    if (!data.length) return "No attempt in the last day.";
    const known = data.map((s) => s.latency_ms).filter((v) => v != null);
    const [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
    const ground = low - 0.08 * (high - low || 1);
    const spread = data.map((s) => Date.parse(s.at) / 1000 + s.attempt * 0.01);
    const point = (stroke) => ({ stroke, paths: () => null, points: { show: true, size: 4, fill: stroke, width: 0 } });
    plot(into, () => ({
      height: 230, tzDate: UTC, axes: axes(" ms"),
      scales: { y: { range: [ground - 0.04 * (high - ground), high + 0.04 * (high - ground)] } },
      series: [
        { label: "UTC", value: "{YYYY}-{MM}-{DD} {HH}:{mm}" },
        { label: "latency", value: (_, v) => ms(v), ...point(colour("--accent")) },
        { label: "no latency", value: (_, v, __, i) => (v == null ? "–" : data[i]?.reason ?? "–"), ...point(colour("--bad-strong")) },
      ],
    }), [spread, data.map((s) => s.latency_ms), data.map((s) => (s.latency_ms == null ? ground : null))]);
  },
  async distribution(into) {
    const { data, samples, methods, percentiles } = await get(`${root.dataset.base}/distribution?timeframe=1W`);
    if (!samples) return "No distribution yet.";
    into.after(trust(percentiles, samples));
    // Bins over the middle 99 %: the rare far ones would squeeze all others into one bar.
    const at = (share) => {
      let seen = 0;
      for (const bin of data) if ((seen += bin.count) >= share * samples) return bin.latency_ms;
      return data[data.length - 1].latency_ms;
    };
    const low = data[0].latency_ms;
    const high = at(0.99);
    const width = Math.max(0.01, (high - low) / 80);
    const xs = Array.from({ length: 81 }, (_, i) => low + i * width);
    const counts = xs.map(() => 0);
    let beyond = 0;
    for (const bin of data) {
      const i = Math.floor((bin.latency_ms - low) / width);
      if (i < counts.length) counts[i] += bin.count;
      else beyond += bin.count;
    }
    plot(into, () => ({
      height: 220, scales: { x: { time: false } },
      axes: [{ ...axes(" ms")[0], values: (_, ticks) => ticks.map((t) => `${t} ms`) }, axes("")[1]],
      series: [
        { label: "from", value: (_, v) => ms(v) },
        { label: "samples", stroke: colour("--accent"), fill: colour("--band"), points: { show: false },
          paths: window.uPlot.paths.bars({ size: [0.95, 40], align: 1 }) },
      ],
    }), [xs, counts]);
    const said = [];
    if (beyond) said.push(`${beyond.toLocaleString("en")} of ${samples.toLocaleString("en")} samples lie beyond ${xs[80].toFixed(1)} ms.`);
    if (methods.length > 1) said.push(`They are mixed, measured in several ways: ${methods.join(", ")}.`);
    return said.join(" ");
  },
};

function both(path) {
  const one = (base) => (base ? get(`${base}/${path}`).then((body) => body.data) : []);
  return Promise.all([one(root.dataset.base), one(root.dataset.back)]);
}

async function draw(section) {
  const into = section.querySelector(".plot");
  let said;
  const [loading, box] = [into.firstChild, document.createElement("div")];
  into.append(box);
  try {
    said = await DRAW[section.dataset.graph](box);
  } catch (error) {
    said = `Could not be loaded: ${error.message}`;
  }
  loading?.remove();
  if (said) {
    const p = document.createElement("p");
    p.className = "note";
    p.textContent = said;
    into.append(p);
  }
}

// A graph is asked for when it comes near the window: its query costs something.
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "200px" });
for (const section of root.querySelectorAll(".graph")) {
  section.querySelector(".plot").textContent = "Loading …";
  seen.observe(section);
}
