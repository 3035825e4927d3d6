import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { ask, lastTurn, open, openPage, ready, reply } from './harness.mjs';

let site;
before(async () => (site = await open()));
after(() => site.close());

/** A context of its own for each test: nothing is stored from the one before. */
async function visit(options) {
  const context = await site.browser.newContext();
  const page = await openPage(context, site.url, options);
  return { context, page };
}

test('a conversation: ask, stop, regenerate, edit, and the branches of all', async () => {
  const { context, page } = await visit();
  await ready(page);
  assert.equal(await ask(page, 'What is 17 + 25?'), '17 + 25 = 42');
  assert.match(await page.locator('#stats').innerText(), /tokens\/s, first token after [\d.]+ s, \d+ tokens of context/);

  await page.fill('#input', 'Tell me a story about a lion.');
  await page.click('#send');
  // In the page itself, so that the reply is not over before the click arrives.
  const elapsed = await page.evaluate(async () => {
    const until = async (holds) => {
      while (!holds()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const second = () => document.querySelectorAll('.message.assistant')[1];
    await until(() => second()?.querySelector('.body').innerText.length > 4);
    const start = performance.now();
    document.getElementById('stop').click();
    await until(() => second().querySelector('.actions'));
    return performance.now() - start;
  });
  console.log(`stopped after ${elapsed.toFixed(0)} ms`);
  const stopped = await reply(page);
  assert.ok(stopped.length < 120, stopped);

  await page.locator('.message.assistant').last().getByRole('button', { name: 'Regenerate' }).click();
  await page.waitForFunction((length) => document.querySelectorAll('.message.assistant .body')[1]?.innerText.length > length, stopped.length);
  await page.keyboard.press('Escape');
  await page.getByText('2/2').waitFor();
  assert.ok((await reply(page)).startsWith(stopped), 'greedy replies begin alike');
  await page.getByRole('button', { name: 'Version before' }).click();
  assert.equal(await reply(page), stopped);

  const first = page.locator('.message.user').first();
  await first.getByRole('button', { name: 'Edit' }).click();
  await first.getByLabel('Edited message').fill('What is 3 + 4?');
  await first.getByRole('button', { name: 'Send' }).click();
  await page.locator('.message.assistant .actions').waitFor();
  assert.match(await reply(page), /7/);
  assert.equal(await page.locator('.message.user').count(), 1);
  await page.locator('.message.user').getByRole('button', { name: 'Version before' }).click();
  assert.equal(await page.locator('.message.user').count(), 2);
  await context.close();
});

test('the second visit reads the model from this browser and shows the conversations', async () => {
  const { context, page } = await visit();
  await ready(page);
  await ask(page, 'What is 17 + 25?');
  await page.close();
  // The network has no model any more.
  await context.route('**/scout-*/**', (route) => route.abort());
  const again = await openPage(context, site.url);
  await ready(again);
  await again.click('#list-button');
  await again.locator('#conversations').getByRole('button', { name: 'What is 17 + 25?', exact: true }).click();
  assert.equal(await reply(again), '17 + 25 = 42');
  await again.fill('#search', 'no such words');
  await again.getByText('None yet').waitFor();
  await again.click('#settings-button');
  await again.getByText(/scout-[0-9a-f]{12}\/, 3\d\.\d MB/).waitFor();
  await context.close();
});

test('the second visit needs no network', async () => {
  const { context, page } = await visit();
  await ready(page);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await page.waitForFunction(() => navigator.serviceWorker.controller);
  await page.close();
  await context.setOffline(true);
  const again = await openPage(context, site.url);
  await ready(again);
  assert.equal(await ask(again, 'What is 17 + 25?'), '17 + 25 = 42');
  await context.close();
});

test('a changed file in the store is fetched again, the others are not', async () => {
  const { context, page } = await visit();
  await ready(page);
  await page.evaluate(async () => {
    const models = await (await navigator.storage.getDirectory()).getDirectoryHandle('models');
    for await (const folder of models.values()) {
      const writable = await (await folder.getFileHandle('tokenizer.json')).createWritable({ keepExistingData: true });
      await writable.write({ type: 'write', position: 1000, data: 'broken' });
      await writable.close();
    }
  });
  await page.close();
  const fetched = [];
  context.on('request', (request) => request.url().includes('/scout-') && fetched.push(request.url().split('/').at(-1)));
  const again = await openPage(context, site.url);
  await ready(again);
  assert.deepEqual(fetched, ['tokenizer.json']);
  await context.close();
});

test('a download that fails says what to do and can be tried again', async () => {
  const context = await site.browser.newContext();
  await context.route('**/scout-*/model.safetensors', (route) => route.fulfill({ status: 503 }), { times: 1 });
  const page = await openPage(context, site.url);
  await page.getByText(/model\.safetensors: expected the file, the server answered 503/).waitFor();
  await page.getByRole('button', { name: 'Try again' }).click();
  await ready(page);
  await context.close();
});

test('a pasted document is read', async () => {
  const { context, page } = await visit();
  await ready(page);
  const line = 'The rain fell on the hills all day, and nobody went out of the house before the evening came.\n\n';
  const text = `${line.repeat(14)}Walter the nurse keeps the spare key in the boathouse.\n\n${line.repeat(10)}`;
  await page.focus('#input');
  await page.evaluate((pasted) => {
    const data = new DataTransfer();
    data.setData('text/plain', pasted);
    document.activeElement.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true }));
  }, text);
  assert.match(await page.locator('#document-name').innerText(), /pasted text, 2,\d+ characters/);
  assert.match(await ask(page, 'In which place is the spare key of Walter the nurse?'), /boathouse/);
  assert.ok(await page.getByText('Document: pasted text').isVisible());
  await context.close();
});

test('the X-ray of a reply shows what each layer read', async () => {
  const { context, page } = await visit();
  await ready(page);
  const line = 'The rain fell on the hills all day, and nobody went out of the house before the evening came.\n\n';
  const text = `${line.repeat(20)}Walter the nurse keeps the spare key in the boathouse.\n\n${line.repeat(20)}`;
  await page.setInputFiles('#file', { name: 'rain.txt', mimeType: 'text/plain', buffer: Buffer.from(text) });
  assert.match(await ask(page, 'In which place is the spare key of Walter the nurse?'), /boathouse/);
  await page.getByRole('button', { name: 'X-ray' }).click();
  const count = page.locator('#xray-count');
  await count.getByText(/tokens were read/).waitFor();
  const tokens = page.locator('#xray-reply button');
  const place = (await tokens.allInnerTexts()).findIndex((token) => token.includes('boat'));
  await tokens.nth(place).click();
  await page.waitForFunction((at) => document.querySelectorAll('#xray-reply button')[at].getAttribute('aria-pressed') === 'true', place);
  // One layer reads 512 of more than 800 tokens, and the one that answers is among them for most layers.
  const [n, total] = (await count.innerText()).match(/\d+/g).map(Number);
  assert.ok(total > 800 && n >= 512 && n <= total, await count.innerText());
  const layers = await page.evaluate(async () => {
    const slider = document.getElementById('xray-layer');
    const marked = [];
    for (let layer = 1; layer <= 8; layer++) {
      slider.value = String(layer);
      slider.dispatchEvent(new Event('input'));
      const spans = [...document.querySelectorAll('#xray-text span')].filter((span) => span.style.backgroundColor);
      marked.push([spans.length, spans.some((span) => span.textContent.includes('boat'))]);
    }
    return marked;
  });
  assert.ok(layers.every(([n_marked]) => n_marked === 512), JSON.stringify(layers));
  assert.ok(layers.filter(([, reads]) => reads).length >= 4, JSON.stringify(layers));
  // What is read is marked by its score: the one that answers stands out in some layer, and the others differ.
  const marks = await page.evaluate(() => {
    const slider = document.getElementById('xray-layer');
    const found = [];
    for (let layer = 1; layer <= 8; layer++) {
      slider.value = String(layer);
      slider.dispatchEvent(new Event('input'));
      const spans = [...document.querySelectorAll('#xray-text span')].filter((span) => span.style.backgroundColor);
      const alpha = (span) => Number(/([\d.]+)\)$/.exec(span.style.backgroundColor)[1]);
      const sorted = spans.map(alpha).sort((a, b) => b - a);
      found.push({ levels: new Set(sorted).size, rank: Math.min(...spans.filter((span) => span.textContent.includes('boat')).map((span) => sorted.indexOf(alpha(span)))) });
    }
    return found;
  });
  assert.ok(marks.every(({ levels }) => levels > 50), JSON.stringify(marks));
  assert.ok(marks.some(({ rank }) => rank < 10), JSON.stringify(marks));
  const boat = page.locator('#xray-text span', { hasText: 'boat' }).first();
  await boat.hover();
  assert.match(await boat.getAttribute('title'), /boat.*, token \d+: layer 7 scored [-\d.e]+, \d+ % of its range|not read/);
  await page.locator('#xray-map svg').hover({ position: { x: 300, y: 20 } });
  if (process.env.SFERIC_SCREENSHOTS) await page.screenshot({ path: `${process.env.SFERIC_SCREENSHOTS}/web-xray.png` });
  const [svg] = await Promise.all([page.waitForEvent('download'), page.click('#xray-export')]);
  assert.match(readFileSync(await svg.path(), 'utf8'), /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg".*layer 7 scored [-\d.e]+, \d+ % of its range/);
  await page.click('#xray-close');
  // The conversation goes on behind it.
  assert.ok((await ask(page, 'What is 17 + 25?')).length > 0);
  await context.close();
});

test('a reply on WebGPU goes on when the device is lost', async () => {
  const context = await site.browser.newContext();
  // Gives the test the worker's device.
  await context.route('**/worker-*.js', async (route) => {
    const hook = `const request = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (descriptor) { return (globalThis.device = await request.call(this, descriptor)); };\n`;
    await route.fulfill({ contentType: 'text/javascript', body: hook + (await (await route.fetch()).text()) });
  });
  const page = await openPage(context, site.url, { device: 'gpu' });
  await ready(page);
  assert.match(await page.locator('#facts').textContent(), /our own/);
  await page.fill('#input', 'Hello, who are you?');
  await page.click('#send');
  await page.waitForFunction(() => document.querySelector('.message.assistant .body')?.innerText.length > 4, undefined, { timeout: 120_000 });
  await page.workers()[0].evaluate(() => globalThis.device.destroy());
  await page.getByText(/The device failed/).waitFor();
  await page.locator('.message.assistant .actions').waitFor({ timeout: 120_000 });
  assert.equal(await reply(page), 'I am Scout, a small assistant that runs on your own device.');
  await context.close();
});

test('two tabs on their first visit', async () => {
  const context = await site.browser.newContext();
  const pages = await Promise.all([openPage(context, site.url), openPage(context, site.url)]);
  await Promise.all(pages.map(ready));
  for (const page of pages) assert.equal(await ask(page, 'What is 17 + 25?'), '17 + 25 = 42');
  await context.close();
});

test('an exported conversation can be imported, other files are refused', async () => {
  const { context, page } = await visit();
  await ready(page);
  await ask(page, 'What is 17 + 25?');
  await page.click('#list-button');
  const [json] = await Promise.all([page.waitForEvent('download'), page.click('#export-json')]);
  const [markdown] = await Promise.all([page.waitForEvent('download'), page.click('#export-markdown')]);
  assert.equal(readFileSync(await markdown.path(), 'utf8'), '# What is 17 + 25?\n\n**You**\n\nWhat is 17 + 25?\n\n**Sferic**\n\n17 + 25 = 42\n');
  const exported = readFileSync(await json.path());
  await page.click('#new');
  assert.equal(await page.locator('.message').count(), 0);
  await page.setInputFiles('#import-file', { name: 'other.json', mimeType: 'application/json', buffer: Buffer.from('{"turns": 3}') });
  await page.getByText(/other.json: The file holds other data/).waitFor();
  await page.setInputFiles('#import-file', { name: 'c.json', mimeType: 'application/json', buffer: exported });
  await page.locator('.message.assistant').waitFor();
  assert.equal(await reply(page), '17 + 25 = 42');
  await context.close();
});

test('replies are shown as text and never run', async () => {
  const { context, page } = await visit();
  await ready(page);
  const content = 'See <img src=x onerror="window.broken = 1"> **bold**\n\n```js\nlet a = 1;\n```\n\n[link](javascript:window.broken=1)';
  const turns = { a: { id: 'a', parent: null, role: 'user', content: '<b>hi</b>' }, b: { id: 'b', parent: 'a', role: 'assistant', content } };
  await page.setInputFiles('#import-file', { name: 'c.json', mimeType: 'application/json', buffer: Buffer.from(JSON.stringify({ turns, leaf: 'b' })) });
  await page.locator('.message.assistant strong').waitFor();
  assert.equal(await page.locator('.message img').count(), 0);
  assert.equal(await page.locator('.message.user b').count(), 0);
  assert.equal(await page.locator('.message.assistant a').getAttribute('href'), null);
  assert.equal(await page.evaluate(() => window.broken), undefined);
  await page.locator('pre').getByRole('button', { name: 'Copy' }).waitFor();
  await context.close();
});

test('the same tokens as the native program on ten prompts', async () => {
  const prompts = ['What is 17 + 25?', 'Hello, who are you?', 'What is a volcano?', 'Tell me a story about a lion.', 'What does brave mean?', 'What is 9 x 8?', 'Sort these numbers: 4, 1, 3.', 'Say something polite.', 'What is the capital of France?', 'How many days are in a week?'];
  const program = process.env.SFERIC_PROGRAM;
  assert.ok(program, 'SFERIC_PROGRAM has to name the native program');
  const { context, page } = await visit({ settings: { 'max-tokens': '24' } });
  await ready(page);
  for (const prompt of prompts) {
    await page.click('#new');
    await ask(page, prompt);
    const native = execFileSync(program, ['generate', '--device', 'cpu', '--temperature', '0', '--max-tokens', '24', '--chat', prompt], { encoding: 'utf8' });
    const { content: shown } = await lastTurn(page);
    assert.equal(shown.trim(), native.trim(), prompt);
  }
  await context.close();
});

test('the page stays quick while the model writes', async () => {
  const { context, page } = await visit({ settings: { 'max-tokens': '60' } });
  await ready(page);
  await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => (window.longest = Math.max(window.longest, entry.duration)))).observe({ type: 'longtask' });
  });
  await ask(page, 'Tell me a story about a lion.');
  const longest = await page.evaluate(() => window.longest);
  console.log(`longest task of the main thread: ${longest} ms`);
  await context.close();
});

test('no violations of accessibility rules, light, dark and on a phone', async () => {
  const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
  for (const [colorScheme, width] of [['light', 1100], ['dark', 1100], ['light', 380]]) {
    const context = await site.browser.newContext({ colorScheme, viewport: { width, height: 800 } });
    const page = await openPage(context, site.url);
    await ready(page);
    await ask(page, 'What is 17 + 25?');
    await page.click('#settings-button');
    await page.click('#list-button');
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map((one) => one.html).join(' ')}`), []);
    if (process.env.SFERIC_SCREENSHOTS) {
      await page.click('#settings-button');
      await page.click('#list-button');
      await page.screenshot({ path: `${process.env.SFERIC_SCREENSHOTS}/web-${width < 500 ? 'phone' : colorScheme}.png` });
    }
    await context.close();
  }
});

test('the example of ten lines', async () => {
  const context = await site.browser.newContext();
  const page = await context.newPage();
  await page.goto(`${site.url}/examples/ten-lines.html`);
  await page.waitForFunction(() => document.title === 'done', undefined, { timeout: 120_000 });
  assert.equal(await page.locator('#reply').innerText(), '17 + 25 = 42');
  await context.close();
});

test('wasm and JavaScript are at most 4 MB, gzipped', () => {
  const assets = join(site.out, 'site/assets');
  const files = readdirSync(assets).filter((name) => /\.(wasm|js)$/.test(name));
  const bytes = files.reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name)), { level: 9 }).length, 0);
  console.log(`${(bytes / 1e6).toFixed(2)} MB of wasm and JavaScript, gzipped`);
  assert.ok(bytes > 1e6 && bytes <= 4e6, `${bytes} bytes`);
});
