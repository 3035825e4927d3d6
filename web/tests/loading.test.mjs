// How a model gets to the device: downloads, the store, picked folders, and everything that can go wrong on the way.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ask, open, openPage, ready } from './harness.mjs';
import { biasedFiles, demoFiles, hugeFiles, PIECE, serve as serveFiles, shardedFiles, tensorsOf } from './models.mjs';

const QUESTION = 'What is 17 + 25?';
const ANSWER = '17 + 25 = 42';

let site;
const servers = [];
before(async () => (site = await open()));
after(async () => {
  for (const server of servers) server.close();
  await site.close();
});

async function serve(files, options) {
  const server = await serveFiles(files, options);
  servers.push(server);
  return server;
}

/** Opens the page with the model of a server; `hook` is run in the worker before anything else. */
async function visit(server, { hook, init, context, ...options } = {}) {
  context ??= await site.browser.newContext();
  if (hook) await hookWorker(context, hook);
  if (init) await context.addInitScript(init);
  const page = await openPage(context, site.url, { ...options, settings: { ...(server && { 'model-address': server.url }), ...options.settings } });
  return { context, page };
}

async function hookWorker(context, hook) {
  await context.route('**/worker-*.js', async (route) => {
    const script = await (await route.fetch()).text();
    await route.fulfill({ contentType: 'text/javascript', body: `(${hook})();\n${script}` });
  });
}

/** Ranges of the weights that were asked for, in order. */
function ranges({ log }) {
  return log.filter(({ name }) => name.endsWith('.safetensors')).map(({ name, range }) => `${name} ${range}`).sort();
}

test('no more than a tensor of the weights is in the module at a time', async () => {
  const hook = () => {
    const read = FileReaderSync.prototype.readAsArrayBuffer;
    globalThis.largestRead = 0;
    FileReaderSync.prototype.readAsArrayBuffer = function (blob) {
      globalThis.largestRead = Math.max(globalThis.largestRead, blob.size);
      return read.call(this, blob);
    };
  };
  const { context, page } = await visit(undefined, { hook, device: 'gpu' });
  await ready(page);
  const file = demoFiles().get('model.safetensors');
  const largest = Math.max(...tensorsOf(file).map(({ bytes }) => bytes.length));
  assert.equal(await page.workers()[0].evaluate(() => globalThis.largestRead), largest);
  const facts = await page.locator('#facts').textContent();
  const module = Number(facts.match(/Module([\d.]+) MB/)[1]) * 1e6;
  console.log(`${(module / 1e6).toFixed(1)} MB of wasm memory at most; the model has ${(file.length / 1e6).toFixed(1)}, its largest tensor ${(largest / 1e6).toFixed(1)}`);
  assert.ok(module <= largest + 256e6, facts);
  await context.close();
});

test('shaders of a prompt are compiled while the weights are read, those of a reply while nothing is asked', async () => {
  const hook = () => {
    const create = GPUDevice.prototype.createComputePipeline;
    globalThis.nCompiled = 0;
    GPUDevice.prototype.createComputePipeline = function (descriptor) {
      globalThis.nCompiled++;
      return create.call(this, descriptor);
    };
    const post = globalThis.postMessage;
    globalThis.postMessage = (answer) => {
      if (answer.progress?.phase === 'upload') globalThis.nEarly ??= globalThis.nCompiled;
      if (answer.type === 'loaded') globalThis.nLoaded = globalThis.nCompiled;
      post(answer);
    };
  };
  const { context, page } = await visit(undefined, { hook, device: 'gpu' });
  await ready(page);
  const counts = () => page.workers()[0].evaluate(() => [globalThis.nEarly, globalThis.nLoaded, globalThis.nCompiled]);
  const [early, loaded] = await counts();
  assert.ok(early > 0 && early === loaded, `${early} before the weights, ${loaded} when they were there`);
  // All are there when no other follows for a while.
  let ahead = loaded;
  for (let last = -1; ahead !== last; [, , ahead] = await counts()) {
    last = ahead;
    await page.waitForTimeout(4000);
  }
  assert.ok(ahead > loaded, 'some are compiled while nothing is asked');
  assert.equal(await ask(page, QUESTION), ANSWER);
  assert.deepEqual(await counts(), [early, loaded, ahead], 'nothing is compiled for the first reply');
  await context.close();
});

test('a model in shards: pieces in parallel, kept, and a broken piece fetched alone', async () => {
  const server = await serve(shardedFiles(3), { rate: 40e6 });
  const { context, page } = await visit(server);
  await ready(page);
  assert.equal(await ask(page, QUESTION), ANSWER);
  const fetched = ranges(server);
  assert.ok(server.load.peak >= 3 && server.load.peak <= 4, `${server.load.peak} requests at a time`);
  assert.equal(new Set(fetched).size, fetched.length, 'nothing is fetched twice');
  assert.equal(fetched.filter((line) => line.startsWith('model-0') && line.endsWith(` 0-${PIECE - 1}`)).length, 3);
  const { storedName, piece } = await page.evaluate(async (bytes) => {
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle('models');
    for await (const folder of models.values()) {
      const file = await folder.getFileHandle('model-00002-of-00003.safetensors');
      const writable = await file.createWritable({ keepExistingData: true });
      await writable.write({ type: 'write', position: bytes + 1000, data: 'broken' });
      await writable.close();
      return { storedName: file.name, piece: 1 };
    }
  }, PIECE);
  await page.close();
  server.log.length = 0;
  const { page: again } = await visit(server, { context });
  await ready(again);
  assert.equal(await ask(again, QUESTION), ANSWER);
  assert.deepEqual(server.log.map(({ name }) => name), [storedName]);
  assert.match(server.log[0].range, new RegExp(`^${piece * PIECE}-(${2 * PIECE - 1}|\\d+)$`));
  await context.close();
});

test('a server without ranges that compresses', async () => {
  const server = await serve(shardedFiles(2), { hasRanges: false, isZipped: true });
  const { context, page } = await visit(server);
  await ready(page);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('a server that shows no length of a part', async () => {
  const server = await serve(demoFiles(), { isShy: true });
  const { context, page } = await visit(server);
  await ready(page);
  assert.ok(ranges(server).length > 1, `${ranges(server)}`);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('a download that breaks off goes on with the pieces that are missing', async () => {
  const server = await serve(demoFiles(), { limit: (name, begin) => (name === 'model.safetensors' && begin >= 5 * PIECE ? 1e6 : Infinity), rate: 60e6 });
  const { context, page } = await visit(server);
  await page.getByText(/broke off: .* Load again; what has arrived is kept/).waitFor();
  await page.getByText('Use the processor').waitFor({ state: 'hidden' });
  const before = ranges(server);
  server.log.length = 0;
  delete server.options.limit;
  await page.getByRole('button', { name: 'Try again' }).click();
  await ready(page);
  assert.ok(server.log.every(({ name }) => name === 'model.safetensors'), JSON.stringify(server.log));
  assert.ok(!ranges(server).includes(`model.safetensors 0-${PIECE - 1}`), `${before} then ${ranges(server)}`);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('a slow download shows rate and time, can be cancelled and resumed', async () => {
  const server = await serve(demoFiles(), { rate: 1.5e6 });
  const init = () => {
    StorageManager.prototype.persist = async () => (window.isAsked = true);
  };
  const { context, page } = await visit(server, { init });
  await page.getByText(/Downloading model\.safetensors: [\d.]+ MB of 32\.0 MB, [\d.]+ (K|M)B\/s, \d+ s left \(this browser has room for [\d.]+ GB\)/).waitFor();
  assert.equal(await page.evaluate(() => window.isAsked), true, 'the browser is asked not to delete the model');
  server.options.rate = 6e6;
  await page.getByText(/Downloading model\.safetensors: (9|1\d|2\d)\.\d MB/).waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByText('Cancelled. What has arrived is kept.').waitFor();
  server.log.length = 0;
  delete server.options.rate;
  await page.getByRole('button', { name: 'Resume' }).click();
  await ready(page);
  assert.ok(ranges(server).length && !ranges(server).includes(`model.safetensors 0-${PIECE - 1}`), `${ranges(server)}`);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await page.click('#settings-button');
  await page.getByText(`${server.url}, 32.9 MB`).waitFor();
  await page.getByRole('button', { name: `Delete ${server.url}` }).click();
  await page.locator('#models').getByText('None').waitFor();
  await context.close();
});

test('a file that has changed on its server is fetched anew', async () => {
  const server = await serve(demoFiles(), { limit: (name, begin) => (name === 'model.safetensors' && begin ? 1e6 : Infinity) });
  const { context, page } = await visit(server);
  await page.getByText(/broke off/).waitFor();
  server.options.version = 2;
  delete server.options.limit;
  await page.getByRole('button', { name: 'Try again' }).click();
  await page.getByText(/has changed on its server: .* Load again; it is then fetched anew/).waitFor();
  await page.getByRole('button', { name: 'Try again' }).click();
  await ready(page);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('a folder that the visitor picks, and files that are dropped', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sferic-'));
  for (const [name, bytes] of shardedFiles(2)) writeFileSync(join(folder, name), bytes);
  const { context, page } = await visit();
  await ready(page);
  await page.setInputFiles('#model-files', folder);
  await page.locator('#device').getByText(new RegExp(folder.split('/').at(-1))).waitFor();
  await ready(page);
  assert.equal(await ask(page, QUESTION), ANSWER);
  // Files of a drop; one is missing.
  const dropAll = (names) =>
    page.evaluate(async (dropped) => {
      const data = new DataTransfer();
      for (const { name, base64 } of dropped) data.items.add(new File([Uint8Array.from(atob(base64), (c) => c.charCodeAt(0))], name));
      document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true }));
    }, names);
  const files = [...shardedFiles(2)].map(([name, bytes]) => ({ name, base64: bytes.toString('base64') }));
  await dropAll(files.filter(({ name }) => !name.startsWith('model-00002')));
  await page.getByText(/names model-00002-of-00002\.safetensors, which is missing\. Pick the whole folder/).waitFor();
  await dropAll(files);
  await page.locator('#device').getByText('Your model').waitFor();
  await ready(page);
  await page.click('#new');
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
  rmSync(folder, { recursive: true });
});

test('no room in the browser: refused before the download, or loaded without keeping', async () => {
  const server = await serve(demoFiles());
  const hook = () => {
    navigator.storage.estimate = async () => ({ quota: 20e6, usage: 5e6 });
  };
  const { context, page } = await visit(server, { hook });
  await page.getByText(/27\.8 MB are to be kept, this browser has room for 15\.0 MB\. Delete other models, or load it without keeping it/).waitFor();
  assert.deepEqual(ranges(server), [`model.safetensors 0-${PIECE - 1}`]);
  await page.getByRole('button', { name: 'Load without keeping it' }).click();
  await ready(page);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('a store that fills up in mid-download: the model works and the page says so', async () => {
  const context = await site.browser.newContext();
  const protocol = await context.newCDPSession(await context.newPage());
  await protocol.send('Storage.overrideQuotaForOrigin', { origin: site.url, quotaSize: 12e6 });
  const { page } = await visit(undefined, { context });
  await ready(page);
  await page.getByText(/The model works, but this browser does not keep it \(QuotaExceededError: .*the next visit fetches it again/).waitFor();
  assert.equal(await ask(page, QUESTION), ANSWER);
  await page.locator('#notice').getByRole('button', { name: 'Close' }).click();
  assert.ok(await page.locator('#notice').isHidden());
  await context.close();
});

test('no storage at all: the model is held in memory', async () => {
  const hook = () => {
    navigator.storage.getDirectory = () => Promise.reject(new DOMException('not allowed', 'SecurityError'));
  };
  const { context, page } = await visit(undefined, { hook });
  await ready(page);
  await page.getByText(/does not keep it \(the browser has no storage here\)/).waitFor();
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('a model that is too large is refused before its weights are fetched', async () => {
  const server = await serve(hugeFiles());
  const { context, page } = await visit(server);
  await page.getByText(/not enough memory: \d+ bytes are needed .* are available; no context fits: choose another device or a smaller model/).waitFor();
  assert.deepEqual(ranges(server), [`model.safetensors 0-${PIECE - 1}`]);
  await context.close();
});

test('a context of one\'s own, and one that the model does not have', async () => {
  const { context, page } = await visit(undefined, { settings: { 'context-length': '2048' } });
  await ready(page);
  assert.match(await page.locator('#facts').textContent(), /Context2048 tokens/);
  await page.click('#settings-button');
  await page.fill('#context-length', '1000000');
  await page.locator('#context-length').blur();
  await page.getByText(/a context of 1000000 tokens was asked for: expected 1 to 16384/).waitFor();
  await page.fill('#context-length', '');
  await page.locator('#context-length').blur();
  await ready(page);
  assert.match(await page.locator('#facts').textContent(), /Context16384 tokens/);
  await context.close();
});

test('a connection that breaks now and then is taken up again', async () => {
  const broken = new Set();
  const limit = (name, begin) => (name === 'model.safetensors' && begin && !broken.has(begin) && broken.add(begin) ? PIECE + 1e6 : Infinity);
  const server = await serve(demoFiles(), { limit, rate: 60e6 });
  const { context, page } = await visit(server);
  await ready(page);
  assert.ok(broken.size >= 4, `${[...broken]}`);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('no WebGPU: the processor computes and the page says so', async () => {
  const none = () => Object.defineProperty(navigator, 'gpu', { value: undefined });
  const { context, page } = await visit(undefined, { hook: none, init: none, device: 'auto' });
  await ready(page);
  await page.getByText(/This browser has no WebGPU: the model runs on the processor/).waitFor();
  assert.equal(await ask(page, QUESTION), ANSWER);
  // Whoever insists on a GPU is offered the processor.
  await page.click('#settings-button');
  await page.selectOption('#device-choice', 'gpu');
  await page.getByText(/no gpu was found/).waitFor();
  await page.getByRole('button', { name: 'Use the processor' }).click();
  await ready(page);
  await context.close();
});

test('WebGPU without an adapter', async () => {
  const none = () => (GPU.prototype.requestAdapter = async () => null);
  const { context, page } = await visit(undefined, { hook: none, device: 'auto' });
  await ready(page);
  await page.getByText(/The browser has found no GPU: the model runs on the processor/).waitFor();
  await context.close();
});

test('a model that the kernels do not know runs on the processor, and the page says why', async () => {
  const { context, page } = await visit(await serve(biasedFiles()), { device: 'gpu' });
  await ready(page);
  await page.getByText(/The GPU is left out \(.*; its attention projections have biases, so the cpu\): the model runs on the processor/).waitFor();
  assert.match(await page.locator('#facts').textContent(), /Classcpu.*Kernelsnone/);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('a device that runs out of memory while the model is loaded', async () => {
  const hook = () => {
    const create = GPUDevice.prototype.createBuffer;
    let n = 0;
    GPUDevice.prototype.createBuffer = function (descriptor) {
      return create.call(this, ++n === 30 ? { ...descriptor, size: 2 ** 40 } : descriptor);
    };
  };
  const { context, page } = await visit(undefined, { hook, device: 'gpu' });
  await page.getByText(/could not be put on the device, and what was there of it is unloaded: .* It needs \d+ MB\. Close other pages/).waitFor({ timeout: 60_000 });
  assert.equal(page.workers().length, 0);
  await page.getByRole('button', { name: 'Use the processor' }).click();
  await ready(page);
  assert.equal(await ask(page, QUESTION), ANSWER);
  await context.close();
});

test('a reply that ends in the background shows in the title', async () => {
  const { context, page } = await visit(undefined, { settings: { 'max-tokens': '30' } });
  await ready(page);
  const hide = (hidden) =>
    page.evaluate((value) => {
      Object.defineProperty(document, 'hidden', { value, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }, hidden);
  await page.fill('#input', QUESTION);
  await page.click('#send');
  await hide(true);
  const other = await context.newPage();
  await other.bringToFront();
  await page.locator('.message.assistant .actions').waitFor();
  assert.equal(await page.title(), '✓ Sferic');
  await page.bringToFront();
  await hide(false);
  assert.equal(await page.title(), 'Sferic');
  await context.close();
});

test('addresses of Hugging Face lead to the files', async () => {
  const files = demoFiles();
  const { context, page } = await visit();
  const asked = [];
  await context.route('https://huggingface.co/**', (route) => {
    const [path, name] = new URL(route.request().url()).pathname.match(/^(.*\/)([^/]*)$/).slice(1);
    asked.push(path);
    const body = files.get(name);
    return route.fulfill({ status: body ? 200 : 404, ...(body && { body }), headers: { 'Access-Control-Allow-Origin': '*' } });
  });
  await ready(page);
  await page.click('#settings-button');
  await page.fill('#model-address', 'https://huggingface.co/someone/tiny');
  await page.click('#load-address');
  await page.locator('#device').getByText('tiny').waitFor();
  assert.deepEqual([...new Set(asked)], ['/someone/tiny/resolve/main/']);
  await context.close();
});

test('maths is MathML, and prices are not', async () => {
  const { context, page } = await visit();
  await ready(page);
  const content = String.raw`Area $\pi r^2$ and \(\frac{a}{b}\), for $5 and $6.

$$\sum_{i=1}^n i = \frac{n(n+1)}{2}$$

\[ x = \href{javascript:window.broken=1}{y} <img src=x onerror="window.broken=1"> \]

\[
a = b
- c

+ d
\]

Code keeps its signs: ${'`$x$`'}`;
  const turns = { a: { id: 'a', parent: null, role: 'user', content: 'maths' }, b: { id: 'b', parent: 'a', role: 'assistant', content } };
  await page.setInputFiles('#import-file', { name: 'c.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify({ turns, leaf: 'b' })) });
  const body = page.locator('.message.assistant .body');
  await body.locator('math').first().waitFor();
  assert.equal(await body.locator('math').count(), 5);
  assert.equal(await body.locator('math[display=block]').count(), 3);
  assert.equal(await body.locator('msup').first().textContent(), 'r2');
  assert.equal(await body.locator('mfrac').count(), 2);
  assert.match(await body.innerText(), /for \$5 and \$6\./);
  assert.equal(await body.locator('code').textContent(), '$x$');
  assert.equal(await body.locator('img, a, [href], [style], [class]:not(pre *)').count(), 0);
  assert.equal(await page.evaluate(() => window.broken), undefined);
  if (process.env.SFERIC_SCREENSHOTS) await page.screenshot({ path: `${process.env.SFERIC_SCREENSHOTS}/web-maths.png` });
  await context.close();
});
