import type { AttentionReport, AttentionRow, KernelReport, KernelRow, PartFigures } from 'sferic';

export type Report = KernelReport | AttentionReport;
export type Part = 'scores' | 'top_k' | 'attention' | 'sparse' | 'dense';

export const PARTS: readonly Part[] = ['scores', 'top_k', 'attention', 'sparse', 'dense'];

/** A time of this report beside that of another. */
export interface Pair {
  name: string;
  ours: number;
  theirs: number;
}

export function isAttention(report: Report): report is AttentionReport {
  return 'crossovers' in report;
}

/** Reads a report that a program or a page has written. */
export function parseReport(text: string): Report {
  const expected = 'expected what `sferic bench kernels --json`, `sferic bench attention --json` or this page writes';
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`The file is no JSON (${error instanceof Error ? error.message : String(error)}): ${expected}.`);
  }
  if (!isRecord(value)) throw new Error(`The file holds ${value === null ? 'null' : Array.isArray(value) ? 'a list' : `a ${typeof value}`}: ${expected}.`);
  const fail = (what: string) => new Error(`The file is no report: ${what}; ${expected}.`);
  for (const name of ['device', 'driver', 'api', 'features']) if (typeof value[name] !== 'string') throw fail(`its "${name}" is no text`);
  if (typeof value.copy_gigabytes_per_second !== 'number') throw fail('its "copy_gigabytes_per_second" is no number');
  const { rows } = value;
  if (!Array.isArray(rows)) throw fail('it has no "rows"');
  const isOfAttention = 'crossovers' in value;
  if (isOfAttention && !(isRecord(value.shape) && typeof value.shape.name === 'string' && Array.isArray(value.crossovers) && Array.isArray(value.notes))) {
    throw fail('its "shape", "crossovers" or "notes" are missing');
  }
  const isRow = isOfAttention ? isAttentionRow : isKernelRow;
  const wrong = rows.findIndex((row) => !isRow(row));
  if (wrong >= 0) throw fail(`row ${wrong + 1} has not the form of a row`);
  return value as unknown as Report;
}

/** What both reports have measured; kernels by their kernel and shape, whatever permutation of them a device takes. */
export function pairs(ours: Report, theirs: Report): Pair[] {
  if (isAttention(ours) !== isAttention(theirs)) throw new Error('One report is of kernels and the other of attention: they have nothing in common.');
  if (isAttention(ours) && isAttention(theirs)) {
    const [a, b] = [ours, theirs].map(({ shape, dtype }) => `${shape.name} with ${dtype} caches`);
    if (a !== b) throw new Error(`This report is of ${a}, the other of ${b}: compare the same shape and caches.`);
  }
  const others = times(theirs);
  const found = [...times(ours)].flatMap(([name, time]) => {
    const other = others.get(name);
    return other === undefined ? [] : [{ name, ours: time, theirs: other }];
  });
  if (!found.length) throw new Error('The reports have no row in common.');
  return found;
}

/** Microseconds by a name that is the same on all devices. */
function times(report: Report): Map<string, number> {
  const found = new Map<string, number>();
  if (isAttention(report)) {
    for (const { queries, cached, figures } of report.rows) {
      for (const part of PARTS) {
        const time = figures?.[part]?.microseconds;
        if (time !== undefined) found.set(`${part}, ${queries} ${queries === 1 ? 'query' : 'queries'}, ${cached} tokens`, time);
      }
    }
    return found;
  }
  for (const row of report.rows) {
    const name = shapeName(row);
    // Of several permutations of one shape the fastest counts.
    if (row.figures) found.set(name, Math.min(row.figures.microseconds, found.get(name) ?? Infinity));
  }
  return found;
}

/** A case's name without what only tells how a device does it. */
function shapeName(row: KernelRow): string {
  const [program = '', ...shape] = row.case.split(' ');
  const formats = program.match(/\b(f32|f16|bf16|fp8|q8|q4)\b/g) ?? [];
  return [row.kernel, ...formats, ...shape].join(' ');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function hasNumbers(value: unknown, names: readonly string[]): boolean {
  return isRecord(value) && names.every((name) => typeof value[name] === 'number');
}

function isPart(value: unknown): value is PartFigures {
  return hasNumbers(value, ['microseconds', 'spread', 'gigabytes_per_second', 'share_of_copy', 'teraflops']);
}

function isAttentionRow(value: unknown): value is AttentionRow {
  if (!isRecord(value) || !hasNumbers(value, ['queries', 'cached'])) return false;
  const { figures } = value;
  if (figures === null) return typeof value.reason === 'string';
  return isRecord(figures) && PARTS.every((part) => isPart(figures[part]) || (part === 'dense' && figures.dense === null));
}

function isKernelRow(value: unknown): value is KernelRow {
  if (!isRecord(value) || ['kernel', 'case', 'tier'].some((name) => typeof value[name] !== 'string')) return false;
  if (value.figures === null) return typeof value.reason === 'string';
  return hasNumbers(value.figures, ['microseconds', 'spread', 'gigabytes_per_second', 'teraflops', 'share_of_copy', 'share_of_matrix']);
}
