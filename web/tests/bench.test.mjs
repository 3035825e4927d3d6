import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { open } from './harness.mjs';

let site;
before(async () => (site = await open()));
after(() => site.close());

/** The native program with the browser's software adapter where the machine has it. */
function native(args) {
  const program = process.env.SFERIC_PROGRAM;
  assert.ok(program, 'SFERIC_PROGRAM has to name the native program');
  const driver = ['/usr/lib/chromium/vk_swiftshader_icd.json'].find(existsSync);
  return execFileSync(program, args, { encoding: 'utf8', env: { ...process.env, ...(driver && { VK_DRIVER_FILES: driver }) } });
}

async function visit(options) {
  const context = await site.browser.newContext(options);
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('page error:', error));
  await page.goto(`${site.url}/site/bench.html`);
  return { context, page };
}

/** Runs what the form asks for and returns the report as it is downloaded. */
async function run(page, fields) {
  for (const [id, value] of Object.entries({ short: true, ...fields })) {
    if (typeof value === 'boolean') await page.setChecked(`#${id}`, value);
    else if (id === 'suite') await page.selectOption('#suite', value);
    else await page.fill(`#${id}`, value);
  }
  await page.click('#run');
  await page.locator('#run:enabled').waitFor({ timeout: 120_000 });
  assert.equal(await page.locator('#status').innerText(), 'Done.');
  return saved(page);
}

async function saved(page) {
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
  return JSON.parse(readFileSync(await file.path(), 'utf8'));
}

/** The names of all fields, those of a list's first row for all. */
function schema(value) {
  if (Array.isArray(value)) return value.slice(0, 1).map(schema);
  if (typeof value !== 'object' || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, schema(field)]));
}

const take = (page, name, text) => page.setInputFiles('#file', { name, mimeType: 'application/json', buffer: Buffer.from(text) });

test('kernels: rows with times, in the form of the native program', async () => {
  const { context, page } = await visit();
  const report = await run(page, { suite: 'kernels', filter: 'norm/rms_norm' });
  assert.deepEqual([...new Set(report.rows.map((row) => row.kernel))], ['memory/copy', 'norm/rms_norm']);
  assert.ok(report.rows.every((row) => row.figures.microseconds > 0 && row.reason === null), JSON.stringify(report.rows));
  assert.ok(report.device.includes('swiftshader') && report.api === 'webgpu', report.device);
  assert.equal(await page.locator('#table tbody tr').count(), report.rows.length);
  assert.equal(await page.locator('#plots rect.bar').count(), report.rows.length);
  const text = native(['bench', 'kernels', 'norm/rms_norm', '--samples', '1', '--short', '--json']);
  assert.deepEqual(schema(report), schema(JSON.parse(text)));
  // The kernels' permutations differ, what they compute does not.
  await page.click('#compare');
  await take(page, 'native.json', text);
  await page.getByText('native.json: 3 times in common.').waitFor();
  assert.match(await page.locator('#against').innerText(), /native\.json: SwiftShader.*Its times are [\d.]+ times these/);
  assert.equal(await page.locator('#plots rect.theirs').count(), 3);
  await context.close();
});

test('attention: rows and curves, in the form of the native program', async () => {
  const { context, page } = await visit();
  const report = await run(page, { suite: 'attention', queries: '1,3', lengths: '64, 128' });
  assert.deepEqual(report.rows.map((row) => [row.queries, row.cached]), [[1, 64], [1, 128], [3, 64], [3, 128]]);
  for (const { figures } of report.rows) {
    for (const part of ['scores', 'top_k', 'attention', 'sparse', 'dense']) assert.ok(figures[part].microseconds > 0, JSON.stringify(figures));
  }
  assert.equal(await page.locator('#plots figure').count(), 2);
  assert.equal(await page.locator('#plots circle').count(), 4 * 5);
  const text = native(['bench', 'attention', '--shape', 'v2-lite', '--queries', '1', '--lengths', '64,128', '--samples', '3', '--short', '--json']);
  const other = JSON.parse(text);
  assert.deepEqual(schema(report), schema(other));
  // Another report is dropped beside it.
  await page.evaluate((dropped) => {
    const data = new DataTransfer();
    data.items.add(new File([dropped], 'dropped.json', { type: 'application/json' }));
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
  }, text);
  await page.getByText('dropped.json: 10 times in common.').waitFor();
  assert.equal(await page.locator('#plots circle.other').count(), 10);
  const ratio = other.rows[0].figures.scores.microseconds / report.rows[0].figures.scores.microseconds;
  assert.equal(await page.locator('#table tbody tr').first().innerText().then((row) => row.split('\t').at(-1)), ratio.toFixed(2));
  await context.close();
});

test('a run that is stopped keeps its rows, and goes on after a refusal', async () => {
  const { context, page } = await visit();
  await page.fill('#lengths', '64, many');
  await page.click('#run');
  await page.getByText('Lengths: many is no count').waitFor();
  await page.fill('#queries', '200');
  await page.fill('#lengths', '64');
  await page.click('#run');
  await page.getByText('200 queries do not fit in 64 cached tokens').waitFor();
  await page.fill('#queries', '1');
  await page.fill('#lengths', '64,128,192,256,320,384,448,512');
  await page.setChecked('#short', true);
  await page.click('#run');
  await page.getByText('2 of 9: 1 queries, 128 tokens').waitFor({ timeout: 120_000 });
  await page.click('#stop');
  await page.getByText('Stopped: the report has the rows that were measured.').waitFor({ timeout: 120_000 });
  const { rows } = await saved(page);
  assert.ok(rows.length >= 1 && rows.length < 8, `${rows.length} rows`);
  await context.close();
});

test('files that are no reports are refused by name', async () => {
  const { context, page } = await visit();
  const head = { device: 'd', driver: '', api: 'vulkan', features: 'base', copy_gigabytes_per_second: 1 };
  const kernels = { ...head, matrix_teraflops: 0, rows: [{ kernel: 'a/b', case: 'a/b[] n=1', tier: 'base', figures: null, reason: 'FAIL' }] };
  for (const [text, message] of [
    ['{"device":', /bad\.json: The file is no JSON \(.*\): expected what `sferic bench kernels --json`/],
    ['[]', /bad\.json: The file holds a list: expected/],
    ['{}', /bad\.json: The file is no report: its "device" is no text/],
    [JSON.stringify(head), /it has no "rows"/],
    [JSON.stringify({ ...kernels, rows: [kernels.rows[0], { kernel: 'x' }] }), /row 2 has not the form of a row/],
    [JSON.stringify({ ...kernels, crossovers: [] }), /its "shape", "crossovers" or "notes" are missing/],
  ]) {
    await take(page, 'bad.json', text);
    await page.waitForFunction((source) => new RegExp(source).test(document.getElementById('status').textContent), message.source);
    assert.equal(await page.locator('#status').getAttribute('class'), 'error');
    assert.ok(await page.locator('#report').isHidden());
  }
  // A row that failed stands there with its reason, and has nothing to compare.
  await take(page, 'kernels.json', JSON.stringify(kernels));
  await page.getByText('kernels.json is shown.').waitFor();
  assert.match(await page.locator('#table tbody tr').innerText(), /FAIL/);
  await page.click('#compare');
  await take(page, 'same.json', JSON.stringify(kernels));
  await page.getByText('same.json: The reports have no row in common.').waitFor();
  await context.close();
});

test('no violations of accessibility rules on the page of benchmarks, light, dark and on a phone', async () => {
  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  const part = (microseconds) => ({ microseconds, spread: 0.02, samples: 9, gigabytes_per_second: 1, share_of_copy: 0.5, teraflops: 1, spread_megabytes: 300 });
  const row = (queries, cached) => ({ queries, cached, reason: null, figures: { scores: part(9), top_k: part(5), attention: part(20), sparse: part(34 + cached / 1e4), dense: part(cached / 100) } });
  const shape = { name: 'v32', heads: 128, index_heads: 64, index_width: 128, latent: 512, rotated: 64, selected: 2048 };
  const rows = [1, 16].flatMap((queries) => [1024, 4096, 16384, 65536].map((cached) => row(queries, cached)));
  const report = { device: 'a device', driver: '1.0', api: 'vulkan', features: 'base', shape, dtype: 'f16', copy_gigabytes_per_second: 100, notes: ['A note.'], rows, crossovers: [{ queries: 1, cached: 4096 }], prefill: null };
  for (const [colorScheme, width] of [['light', 1100], ['dark', 1100], ['light', 380]]) {
    const { context, page } = await visit({ colorScheme, viewport: { width, height: 800 } });
    await take(page, 'report.json', JSON.stringify(report));
    await page.getByText('report.json is shown.').waitFor();
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((one) => one.html).join(' ')}`), []);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, 'nothing sticks out');
    if (process.env.SFERIC_SCREENSHOTS) await page.screenshot({ path: `${process.env.SFERIC_SCREENSHOTS}/web-bench-${width < 500 ? 'phone' : colorScheme}.png` });
    await context.close();
  }
});
