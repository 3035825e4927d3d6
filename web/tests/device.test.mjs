import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ask, open, openPage, ready } from './harness.mjs';

let site;
before(async () => (site = await open()));
after(() => site.close());

/** Makes the software adapter look like a real one, whose products of packed bytes have the wrong sign. */
const BROKEN = `if (globalThis.GPUAdapterInfo) Object.defineProperty(GPUAdapterInfo.prototype, 'isFallbackAdapter', { get: () => false });
  if (globalThis.GPUDevice) {
    const create = GPUDevice.prototype.createShaderModule;
    GPUDevice.prototype.createShaderModule = function (descriptor) {
      globalThis.n_packed = (globalThis.n_packed ?? 0) + Number(descriptor.code.includes('dot4I8Packed('));
      return create.call(this, { ...descriptor, code: descriptor.code.replaceAll('dot4I8Packed(', '-dot4I8Packed(') });
    };
  }\n`;

async function broken() {
  const context = await site.browser.newContext();
  await context.addInitScript(BROKEN);
  await context.route('**/worker-*.js', async (route) => {
    await route.fulfill({ contentType: 'text/javascript', body: BROKEN + (await (await route.fetch()).text()) });
  });
  return context;
}

/** Shader modules with packed products that the engine's worker has made. */
const packed = (page) => page.workers()[0].evaluate(() => globalThis.n_packed ?? 0);

/** The build of the module that the site has. */
function buildOf({ out }) {
  const [name] = readdirSync(join(out, 'site/assets')).filter((file) => file.endsWith('.wasm'));
  return createHash('sha256').update(readFileSync(join(out, 'site/assets', name))).digest('hex').slice(0, 12);
}

test('a feature whose kernels are wrong is found once, left out and remembered', async () => {
  const context = await broken();
  const page = await openPage(context, site.url, { device: 'gpu', settings: { 'max-tokens': '12' } });
  await ready(page);
  await page.click('#settings-button');
  // Nothing is asked, so that the page checks the kernels by itself; then it opens the engine again.
  const verdict = page.locator('#verdict');
  await verdict.getByText(/\d+ failed, none without dp4a\. The engine leaves that out\./).waitFor({ timeout: 200_000 });
  assert.match(await page.locator('#failures li').first().innerText(), /linear\/gemv\[q8.*is .*, expected/);
  await ready(page);
  assert.match(await ask(page, 'What is 17 + 25?'), /17 \+ 25 = 42/);
  await page.close();

  const again = await openPage(context, site.url, { device: 'gpu', settings: { 'max-tokens': '12' } });
  await ready(again);
  await again.click('#settings-button');
  await again.locator('#verdict').getByText(/none without dp4a/).waitFor();
  // A prompt of few tokens, which takes packed products where it may.
  await ask(again, 'Hi');
  assert.equal(await packed(again), 0, 'the engine was opened without packed products');
  assert.equal(again.workers().length, 1, 'nothing is checked again');
  await context.close();
});

test('a verdict against all kernels makes auto take the processor', async () => {
  const context = await broken();
  const page = await openPage(context, site.url);
  await ready(page);
  // What a self-test would leave.
  await page.evaluate(async (build) => {
    const adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    const { vendor, architecture, device, description } = adapter.info;
    const key = [vendor, architecture, device, description, navigator.userAgent, build].join(' | ');
    const verdict = { key, when: Date.now(), features: 'dp4a', left_out: 'dp4a', usable: false, failures: [{ kernel: 'norm/rms_norm', case: '', reason: 'wrong' }], n_cases: 9, seconds: 1 };
    const opening = indexedDB.open('sferic', 1);
    await new Promise((resolve) => {
      opening.onupgradeneeded = () => opening.result.createObjectStore('verdicts');
      opening.onsuccess = resolve;
    });
    const transaction = opening.result.transaction('verdicts', 'readwrite');
    transaction.objectStore('verdicts').put(verdict, verdict.key);
    await new Promise((resolve) => (transaction.oncomplete = resolve));
    opening.result.close();
  }, buildOf(site));
  await page.click('#settings-button');
  await page.selectOption('#device-choice', 'auto');
  await page.locator('#verdict').getByText(/1 failed, some without any feature too/).waitFor({ timeout: 60_000 });
  await ready(page);
  assert.match(await page.locator('#facts').textContent(), /Kernelsnone: the reference path/);
  await context.close();
});

test('a software adapter is checked on demand alone, and the check can be stopped', async () => {
  const context = await site.browser.newContext();
  const page = await openPage(context, site.url);
  await ready(page);
  await page.click('#settings-button');
  const verdict = page.locator('#verdict');
  await verdict.getByText('The kernels have not been checked on this adapter.').waitFor();
  await page.locator('#adapter-details summary').click();
  assert.match(await page.locator('#adapter').innerText(), /swiftshader[\s\S]*subgroups[\s\S]*maxStorageBufferBindingSize\s+\d+/);
  await page.click('#self-test');
  await verdict.getByText(/Checking kernel \d+ of \d+/).waitFor({ timeout: 60_000 });
  await page.evaluate(readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'));
  const { violations } = await page.evaluate(() => window.axe.run());
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((one) => one.html).join(' ')}`), []);
  await page.getByRole('button', { name: 'Stop the check' }).click();
  await verdict.getByText('The kernels have not been checked on this adapter.').waitFor({ timeout: 60_000 });
  await context.close();
});
