// The site on this machine and a headless browser on it. SFERIC_SITE is the folder that build.mjs wrote.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { chromium } from 'playwright-core';
import { preview } from 'vite';

const out = resolve(process.env.SFERIC_SITE ?? 'dist');
const executablePath = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

/** The Chromium of the machine, with its software WebGPU adapter. */
const args = ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'];
// SwiftShader compiles zeros of workgroup memory one store at a time; Chromium then zeroes with a loop.
args.push('--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension');
// A script that a test has changed counts as one from the internet, which may not ask this machine.
args.push('--disable-features=LocalNetworkAccessChecks');

/** Serves what was built and opens a browser; `close` ends both. */
export async function open() {
  const server = await preview({ configFile: false, root: out, logLevel: 'error', preview: { port: 0, host: '127.0.0.1' }, build: { outDir: out }, appType: 'mpa' });
  const { port } = server.httpServer.address();
  const browser = await chromium.launch({ executablePath, args });
  const close = async () => {
    await browser.close();
    server.httpServer.close();
  };
  return { url: `http://127.0.0.1:${port}`, out, browser, close };
}

/** Opens the page and waits until the model is there. Greedy, on the processor: the same reply every time. */
export async function openPage(context, url, { device = 'cpu', settings = {} } = {}) {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('page error:', error));
  await page.addInitScript((kept) => localStorage.getItem('sferic-settings') ?? localStorage.setItem('sferic-settings', kept), JSON.stringify({ 'device-choice': device, temperature: '0', ...settings }));
  await page.goto(`${url}/site/`);
  return page;
}

export async function ready(page) {
  await page.locator('#send:enabled').waitFor({ timeout: 120_000 });
}

/** Asks and returns the text of the reply when it has ended. */
export async function ask(page, question) {
  await page.fill('#input', question);
  await page.click('#send');
  await page.locator('.message.assistant').last().locator('.actions').waitFor({ timeout: 120_000 });
  return reply(page);
}

export async function reply(page) {
  return (await page.locator('.message.assistant .body').last().innerText()).trim();
}

/** The turn that the page has kept last. */
export async function lastTurn(page) {
  return page.evaluate(async () => {
    const all = await new Promise((resolve) => {
      const request = indexedDB.open('keyval-store');
      request.onsuccess = () => {
        const kept = request.result.transaction('keyval').objectStore('keyval').getAll();
        kept.onsuccess = () => resolve(kept.result);
      };
    });
    const { turns, leaf } = all.sort((a, b) => b.changed - a.changed)[0];
    return turns[leaf];
  });
}
