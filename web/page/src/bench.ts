import { bench, describeAdapter, type AttentionOptions, type KernelOptions } from 'sferic';
import { download, element, node } from './dom';
import { bars, curves } from './plots';
import { isAttention, pairs, parseReport, PARTS, type Pair, type Report } from './reports';

let report: Report | undefined;
/** What the report is held against. */
let other: Pair[] | undefined;
let running: AbortController | undefined;
/** What the next file is for. */
let isForComparison = false;

const [status, progress, picker] = [element('status'), element<HTMLProgressElement>('progress'), element<HTMLInputElement>('file')];
const value = (id: string) => element<HTMLInputElement | HTMLSelectElement>(id).value.trim();

function say(text: string, isError = false): void {
  status.textContent = text;
  status.className = isError ? 'error' : '';
}

/** What the form asks for. */
function options(): KernelOptions | AttentionOptions {
  const short = element<HTMLInputElement>('short').checked;
  if (value('suite') === 'kernels') return { suite: 'kernels', filter: value('filter'), short };
  const queries = numbers('queries', 'Queries');
  const lengths = numbers('lengths', 'Lengths');
  return {
    suite: 'attention',
    shape: value('shape') as 'v32' | 'v2-lite',
    dtype: value('dtype') as 'f16' | 'fp8',
    short,
    ...(queries.length && { queries }),
    ...(lengths.length && { lengths }),
  };
}

/** Reads `1K, 2048`. */
function numbers(id: string, what: string): number[] {
  const parts = value(id).split(',').map((part) => part.trim()).filter(Boolean);
  return parts.map((part) => {
    const [, digits, isK] = /^(\d{1,9})(k?)$/i.exec(part) ?? [];
    if (digits === undefined) throw new Error(`${what}: ${part} is no count; write numbers with commas, 64K is 65536.`);
    return Number(digits) * (isK ? 1024 : 1);
  });
}

async function run(): Promise<void> {
  if (running) return;
  const stop = new AbortController();
  try {
    const asked = options();
    running = stop;
    refresh();
    say('Starting …');
    const onProgress = ({ what, done, total }: { what: string; done: number; total: number }) => {
      progress.value = done / total;
      say(`${done} of ${total}: ${what}`);
    };
    show(await bench({ ...asked, onProgress, signal: stop.signal }));
    say(stop.signal.aborted ? 'Stopped: the report has the rows that were measured.' : 'Done.');
  } catch (error) {
    say(messageOf(error), true);
  } finally {
    running = undefined;
    refresh();
  }
}

function show(shown: Report): void {
  [report, other] = [shown, undefined];
  draw();
}

async function take(file: File, isOther: boolean): Promise<void> {
  try {
    const taken = parseReport(await file.text());
    if (isOther && report) {
      other = pairs(report, taken);
      element('against').textContent = `Against ${file.name}: ${nameOf(taken)}. ${summary(other)}`;
      draw();
      say(`${file.name}: ${other.length} times in common.`);
    } else {
      show(taken);
      say(`${file.name} is shown.`);
    }
  } catch (error) {
    say(`${file.name}: ${messageOf(error)}`, true);
  }
}

function nameOf({ device, api, driver }: Report): string {
  return `${device || 'an unnamed device'} (${[api, driver].filter(Boolean).join(', ')})`;
}

/** The middle ratio and the extremes. */
function summary(compared: Pair[]): string {
  const sorted = compared.map(({ ours, theirs }) => theirs / ours).sort((a, b) => a - b);
  const at = (share: number) => (sorted[Math.round(share * (sorted.length - 1))] ?? 1).toFixed(2);
  return `Its times are ${at(0.5)} times these (median), from ${at(0)} to ${at(1)}.`;
}

/** Shows the report as it is. */
function draw(): void {
  refresh();
  element('report').hidden = !report;
  element('against').hidden = !other;
  if (!report) return;
  element('heading').textContent = nameOf(report);
  const copy = `copy ${report.copy_gigabytes_per_second.toFixed(1)} GB/s`;
  if (isAttention(report)) {
    const { name, heads, latent, rotated, index_heads, index_width, selected } = report.shape;
    element('about').textContent = `Tiers: ${report.features}, ${copy}. ${name}: ${heads} heads over rows of ${latent} + ${rotated}, ${index_heads} index heads of ${index_width}, ${selected} selected, ${report.dtype} caches.`;
  } else {
    const matrix = report.matrix_teraflops ? `, matrix product ${report.matrix_teraflops.toFixed(2)} TFLOPS` : '';
    element('about').textContent = `Tiers: ${report.features}, ${copy}${matrix}. A row's share is that of the higher of both ceilings.`;
  }
  element('plots').replaceChildren(...(isAttention(report) ? curves(report, other) : bars(report, other)));
  element('table').replaceChildren(other ? comparison(other) : table(report));
  element('notes').replaceChildren(...(isAttention(report) ? report.notes : []).map((note) => node('li', '', note)));
}

function table(shown: Report): HTMLTableElement {
  if (!isAttention(shown)) {
    const rows = shown.rows.map(({ case: name, kernel, tier, figures, reason }) => {
      const what = name || kernel;
      if (!figures) return [what, tier, reason ?? 'no figure'];
      const { microseconds, spread, gigabytes_per_second, share_of_copy, teraflops, share_of_matrix } = figures;
      return [what, tier, time(microseconds), percent(spread), gigabytes_per_second.toFixed(1), percent(share_of_copy), teraflops.toFixed(3), percent(share_of_matrix)];
    });
    return cells(['kernel', 'tier', 'µs', '±', 'GB/s', 'of copy', 'TFLOPS', 'of matrix'], rows);
  }
  const rows = [...shown.rows, ...(shown.prefill ? [shown.prefill] : [])].map(({ queries, cached, figures, reason }) => {
    if (!figures) return [String(queries), String(cached), reason ?? 'no figure'];
    const { dense, sparse } = figures;
    const worst = Math.max(...PARTS.map((part) => figures[part]?.spread ?? 0));
    const ratio = dense ? (dense.microseconds / sparse.microseconds).toFixed(2) : '';
    const crosses = shown.crossovers.some((at) => at.queries === queries && at.cached === cached);
    return [String(queries), String(cached), ...PARTS.map((part) => (figures[part] ? time(figures[part].microseconds) : '')), ratio, percent(worst), crosses ? '← sparse wins from here' : ''];
  });
  return cells(['queries', 'cached', 'scores, µs', 'top-k', 'attention', 'sparse', 'dense', 'dense/sparse', '±', 'remark'], rows);
}

function comparison(compared: Pair[]): HTMLTableElement {
  const rows = compared.map(({ name, ours, theirs }) => [name, time(ours), time(theirs), (theirs / ours).toFixed(2)]);
  return cells(['what', 'this report, µs', 'the other, µs', 'other/this'], rows);
}

function cells(head: string[], rows: string[][]): HTMLTableElement {
  const made = node('table');
  const headRow = made.createTHead().insertRow();
  for (const title of head) {
    const cell = node('th', '', title);
    cell.scope = 'col';
    headRow.append(cell);
  }
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((text, at) => {
      const cell = line.insertCell();
      cell.textContent = text;
      // A reason stands in place of all figures.
      if (at === row.length - 1 && row.length < head.length) [cell.colSpan, cell.className] = [head.length - at, 'why'];
    });
  }
  return made;
}

function time(microseconds: number): string {
  return microseconds.toFixed(microseconds < 100 ? 2 : 1);
}

function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Shows what can be done now. */
function refresh(): void {
  const isRunning = running !== undefined;
  element<HTMLButtonElement>('run').disabled = isRunning;
  [element('stop').hidden, progress.hidden] = [!isRunning, !isRunning];
  for (const id of ['compare', 'copy', 'save']) element<HTMLButtonElement>(id).disabled = !report || isRunning;
  const isOfKernels = value('suite') === 'kernels';
  [element('of-kernels').hidden, element('of-attention').hidden] = [!isOfKernels, isOfKernels];
}

function pick(forComparison: boolean): void {
  isForComparison = forComparison;
  picker.click();
}

element('options').addEventListener('submit', (event) => {
  event.preventDefault();
  void run();
});
element('suite').addEventListener('change', refresh);
element('stop').addEventListener('click', () => {
  say('Stopping behind what is measured now …');
  running?.abort();
});
element('open').addEventListener('click', () => pick(false));
element('compare').addEventListener('click', () => pick(true));
picker.addEventListener('change', () => {
  const file = picker.files?.[0];
  picker.value = '';
  if (file) void take(file, isForComparison);
});
element('copy').addEventListener('click', () => {
  navigator.clipboard.writeText(JSON.stringify(report)).then(() => say('Copied.'), (error: unknown) => say(`Not copied: ${messageOf(error)} Download it instead.`, true));
});
element('save').addEventListener('click', () => report && download(`${isAttention(report) ? 'attention' : 'kernels'}.json`, 'application/json', `${JSON.stringify(report)}\n`));
document.addEventListener('dragover', (event) => {
  event.preventDefault();
  document.body.classList.add('dropping');
});
document.addEventListener('dragleave', () => document.body.classList.remove('dropping'));
document.addEventListener('drop', (event) => {
  event.preventDefault();
  document.body.classList.remove('dropping');
  const file = event.dataTransfer?.files[0];
  if (file && !running) void take(file, report !== undefined);
});

refresh();
void describeAdapter().then((adapter) => {
  element('device').textContent = adapter ? `${adapter.name}${adapter.software ? ', computed on the processor' : ''}` : 'This browser offers no WebGPU adapter.';
});
