import type { AttentionReport, KernelReport } from 'sferic';
import { node } from './dom';
import { PARTS, type Pair, type Part } from './reports';
import { make } from './svg';

const NAMES: Record<Part, string> = { scores: 'index scores', top_k: 'top-k', attention: 'attention over the selected', sparse: 'sparse, all three', dense: 'dense attention' };
const PANEL = { height: 320, left: 56, right: 14, top: 10, bottom: 40 };
const BAR = { left: 4, row: 34 };

/** Drawn as wide as it is shown on a phone, so that its letters are not made smaller. */
function width(): number {
  return Math.max(300, Math.min(520, document.documentElement.clientWidth - 24));
}

/** Time over cached length, both on logarithmic axes, with a panel for each query count; the other report's lines are dashed. */
export function curves(report: AttentionReport, other: Pair[] | undefined): HTMLElement[] {
  const counts = [...new Set(report.rows.filter((row) => row.figures).map((row) => row.queries))];
  if (!counts.length) return [];
  const panels = counts.map((queries) => panel(report, other, queries));
  return [legend(other !== undefined), ...panels];
}

function panel(report: AttentionReport, other: Pair[] | undefined, queries: number): HTMLElement {
  const rows = report.rows.filter((row) => row.queries === queries && row.figures);
  const right = width();
  const end = right - PANEL.right;
  const title = `${queries} ${queries === 1 ? 'query' : 'queries'}`;
  const theirs = (part: Part, cached: number) => other?.find(({ name }) => name === `${part}, ${title}, ${cached} tokens`)?.theirs;
  const lines = PARTS.flatMap((part) => {
    const ours = rows.flatMap((row) => (row.figures?.[part] ? [[row.cached, row.figures[part].microseconds] as const] : []));
    const others = rows.flatMap((row) => {
      const time = theirs(part, row.cached);
      return time === undefined ? [] : [[row.cached, time] as const];
    });
    return [{ part, points: ours, isOther: false }, { part, points: others, isOther: true }];
  });
  const all = lines.flatMap(({ points }) => points);
  const x = axis(all.map(([cached]) => cached), PANEL.left, end);
  const y = axis(all.map(([, time]) => time), PANEL.height - PANEL.bottom, PANEL.top);
  const svg = make('svg', { viewBox: `0 0 ${right} ${PANEL.height}`, role: 'img', 'aria-label': `Microseconds over cached tokens, ${title}; the table has the numbers` });
  for (const tick of decades(y.least, y.most)) {
    svg.append(make('line', { class: 'grid', x1: PANEL.left, x2: end, y1: y.at(tick), y2: y.at(tick) }));
    svg.append(make('text', { class: 'quiet', x: PANEL.left - 6, y: y.at(tick) + 4, 'text-anchor': 'end' }, micros(tick)));
  }
  for (const tick of [...new Set(rows.map((row) => row.cached))]) {
    svg.append(make('line', { class: 'grid', x1: x.at(tick), x2: x.at(tick), y1: PANEL.top, y2: PANEL.height - PANEL.bottom }));
    svg.append(make('text', { class: 'quiet', x: x.at(tick), y: PANEL.height - PANEL.bottom + 16, 'text-anchor': 'middle' }, tokens(tick)));
  }
  svg.append(make('text', { class: 'quiet', x: (PANEL.left + end) / 2, y: PANEL.height - 6, 'text-anchor': 'middle' }, 'cached tokens'));
  for (const { part, points, isOther } of lines) {
    const isThin = part !== 'sparse' && part !== 'dense';
    const path = points.map(([cached, time]) => `${x.at(cached).toFixed(1)},${y.at(time).toFixed(1)}`).join(' ');
    svg.append(make('polyline', { class: `${part} line ${isThin ? 'thin' : ''} ${isOther ? 'other' : ''}`, points: path }));
    for (const [cached, time] of points) {
      const dot = make('circle', { class: `${part} ${isOther ? 'other' : ''}`, cx: x.at(cached), cy: y.at(time), r: isThin ? 2 : 3 });
      dot.append(make('title', {}, `${NAMES[part]}${isOther ? ' (the other)' : ''}, ${cached} tokens: ${time.toFixed(1)} µs`));
      svg.append(dot);
    }
  }
  return figure(`${title}, µs`, svg);
}

function legend(hasOther: boolean): HTMLElement {
  const list = node('ul', 'legend');
  const item = (text: string, className: string) => {
    const made = node('li');
    const svg = make('svg', { viewBox: '0 0 26 10', 'aria-hidden': 'true' });
    svg.append(make('line', { class: `line ${className}`, x1: 0, x2: 26, y1: 5, y2: 5 }));
    made.append(svg, text);
    return made;
  };
  list.append(...PARTS.map((part) => item(NAMES[part], part)), ...(hasOther ? [item('dashed: the other report', 'sparse other')] : []));
  list.style.flexBasis = '100%';
  return list;
}

/** A bar for each kernel's time on a logarithmic axis, with the share of its ceiling; the other report's bar below it. */
export function bars(report: KernelReport, other: Pair[] | undefined): HTMLElement[] {
  const rows = other
    ? other.map(({ name, ours, theirs }) => ({ name, times: [ours, theirs], share: undefined }))
    : report.rows.flatMap(({ case: name, figures }) => (figures ? [{ name, times: [figures.microseconds], share: Math.max(figures.share_of_copy, figures.share_of_matrix) }] : []));
  if (!rows.length) return [];
  const right = width();
  const letters = Math.floor(right / 7);
  const x = axis(rows.flatMap(({ times }) => times), BAR.left + 40, right - 10);
  const height = BAR.row + (other ? 8 : 0);
  const svg = make('svg', { viewBox: `0 0 ${right} ${rows.length * height + 4}`, role: 'img', 'aria-label': 'Microseconds of each kernel; the table has the numbers' });
  rows.forEach(({ name, times, share }, row) => {
    const y = row * height;
    svg.append(make('text', { x: BAR.left, y: y + 13 }, name.length > letters ? `${name.slice(0, letters - 1)}…` : name));
    times.forEach((time, at) => {
      const length = Math.max(2, x.at(time) - BAR.left);
      svg.append(make('rect', { class: at ? 'bar theirs' : 'bar', x: BAR.left, y: y + 17 + at * 9, width: length, height: other ? 7 : 9, rx: 2 }));
      const text = `${micros(time)} µs${share === undefined ? '' : `, ${(100 * share).toFixed(0)} %`}`;
      const isWide = length > right - 110;
      svg.append(make('text', { class: 'quiet', x: isWide ? right - 10 : BAR.left + length + 5, y: isWide ? y + 13 : y + 25 + at * 9, 'text-anchor': isWide ? 'end' : 'start' }, text));
    });
  });
  return [figure(other ? 'µs, logarithmic; this report above, the other below' : 'µs, logarithmic, and the share of the ceiling', svg)];
}

function figure(title: string, svg: SVGSVGElement): HTMLElement {
  const made = node('figure');
  made.append(node('figcaption', '', title), svg);
  return made;
}

/** A logarithmic axis with some room around the values. */
function axis(values: number[], from: number, to: number) {
  const [least, most] = [Math.min(...values) / 1.3, Math.max(...values) * 1.3];
  const [low, high] = [Math.log(least), Math.log(most)];
  return { least, most, at: (value: number) => from + ((Math.log(value) - low) / (high - low)) * (to - from) };
}

/** Powers of ten between both, and three times them where they are few. */
function decades(least: number, most: number): number[] {
  const powers: number[] = [];
  for (let power = Math.floor(Math.log10(least)); 10 ** power <= most; power++) powers.push(10 ** power, 3 * 10 ** power);
  const inside = powers.filter((tick) => tick >= least && tick <= most);
  return inside.length > 6 ? inside.filter((tick) => Number.isInteger(Math.round(Math.log10(tick) * 1e6) / 1e6)) : inside;
}

function micros(value: number): string {
  return value >= 1000 ? `${Number((value / 1000).toPrecision(3)).toLocaleString('en')}K` : String(Number(value.toPrecision(3)));
}

function tokens(count: number): string {
  return count >= 1024 && count % 1024 === 0 ? `${count / 1024}K` : String(count);
}
