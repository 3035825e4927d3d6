import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { ask, lastTurn, open, openPage, ready } from './harness.mjs';

let site;
before(async () => (site = await open()));
after(() => site.close());

const DRIVER = '/usr/lib/chromium/vk_swiftshader_icd.json';
const QUESTION = 'Tell me a story about a lion.';
const TOKENS = 12;

/** Text and tokens per second of the native program on the software adapter that Chromium brings. */
function native() {
  const args = ['generate', '--device', 'gpu', '--temperature', '0', '--max-tokens', String(TOKENS), '--chat', '--json', QUESTION];
  const lines = execFileSync(process.env.SFERIC_PROGRAM, args, { encoding: 'utf8', env: { ...process.env, VK_DRIVER_FILES: DRIVER } }).trim().split('\n').map((line) => JSON.parse(line));
  const text = lines.filter((line) => line.event === 'text').map((line) => line.text).join('');
  return { text: text.trim(), rate: rate(lines.find((line) => line.event === 'stop').stats) };
}

function rate({ generated_tokens, completion_tokens = generated_tokens, decode_secs }) {
  return (completion_tokens - 1) / decode_secs;
}

// Times are printed and not judged: other work on the machine must not make a test fail.
test('decode on WebGPU beside the native program on the same adapter', { skip: !existsSync(DRIVER) && `there is no ${DRIVER}` }, async () => {
  assert.ok(process.env.SFERIC_PROGRAM, 'SFERIC_PROGRAM has to name the native program');
  const context = await site.browser.newContext();
  const page = await openPage(context, site.url, { device: 'gpu', settings: { 'max-tokens': String(TOKENS) } });
  await ready(page);
  const rates = { browser: [], native: [] };
  // In turn, so that both see the same machine.
  for (let round = 0; round < 2; round++) {
    await page.click('#new');
    await ask(page, QUESTION);
    const { usage } = await lastTurn(page);
    assert.equal(usage.completion_tokens, TOKENS);
    rates.browser.push(rate(usage));
    const beside = native();
    assert.equal((await page.locator('.message.assistant .body').last().innerText()).replace(/The reply reached its longest length\.$/, '').replace(/\s+/g, ' ').trim(), beside.text.replace(/\s+/g, ' '));
    rates.native.push(beside.rate);
  }
  const [browser, program] = [Math.max(...rates.browser), Math.max(...rates.native)];
  console.log(`decode on SwiftShader: ${browser.toFixed(2)} tokens/s in the browser, ${program.toFixed(2)} in the native program: ${((100 * browser) / program).toFixed(0)} %`);
  await context.close();
});
