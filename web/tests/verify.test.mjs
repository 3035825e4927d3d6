import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { open } from './harness.mjs';

const golden = fileURLToPath(new URL('../../tests/fixtures/golden/', import.meta.url));
const wasm = fileURLToPath(new URL('../package/wasm/', import.meta.url));

let site;
before(async () => (site = await open()));
after(() => site.close());

/** A page with nothing but the module, and the files of the reference checkpoints. */
async function bare() {
  const context = await site.browser.newContext();
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('page error:', error));
  await page.route('**/bare/**', async (route) => {
    const path = new URL(route.request().url()).pathname.split('/bare/')[1];
    if (path === '') return route.fulfill({ contentType: 'text/html', body: '<!doctype html><title>bare</title>' });
    if (path.startsWith('sferic_web')) return route.fulfill({ path: join(wasm, path), contentType: path.endsWith('.wasm') ? 'application/wasm' : 'text/javascript' });
    const [folder, name] = path.split('/');
    return route.fulfill({ body: name === 'weights' ? weights(folder) : readFileSync(join(golden, folder, name)) });
  });
  await page.goto(`${site.url}/bare/`);
  return { context, page };
}

/** The weights of a folder in one file, whatever number of them it has. */
function weights(folder) {
  const files = readdirSync(join(golden, folder)).filter((name) => /^model.*\.safetensors$/.test(name)).sort();
  const parts = files.map((name) => readFileSync(join(golden, folder, name)));
  const header = {};
  let start = 0;
  const data = parts.map((part) => {
    const length = Number(part.readBigUInt64LE(0));
    const { __metadata__, ...tensors } = JSON.parse(part.subarray(8, 8 + length).toString());
    const body = part.subarray(8 + length);
    for (const [name, tensor] of Object.entries(tensors)) header[name] = { ...tensor, data_offsets: tensor.data_offsets.map((offset) => offset + start) };
    start += body.length;
    return body;
  });
  const text = Buffer.from(JSON.stringify(header));
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, ' ')]);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([size, padded, ...data]);
}

/** Runs the verification in the page, with the device as the worker of the package opens it. */
function verify(page, folder, device, change) {
  return page.evaluate(
    async ([of, place, changed]) => {
      const { default: init, verify: run } = await import(new URL('sferic_web.js', location.href).href);
      await init();
      const { prototype } = GPUAdapter;
      prototype.original ??= prototype.requestDevice;
      prototype.requestDevice = function (request = {}) {
        return this.original({ ...request, requiredFeatures: [...(request.requiredFeatures ?? []), 'subgroups'] });
      };
      const bytes = async (name) => new Uint8Array(await (await fetch(`${of}/${name}`)).arrayBuffer());
      const reference = await bytes('golden.safetensors');
      if (changed) reference[reference.length - 3] ^= 0x40;
      const config = new TextDecoder().decode(await bytes('config.json'));
      return JSON.parse(await run(config, await bytes('weights'), reference, JSON.stringify({ device: place, subgroups: place === 'gpu' })));
    },
    [folder, device, change],
  );
}

const folders = readdirSync(golden).filter((name) => existsSync(join(golden, name, 'golden.safetensors')));

for (const device of ['cpu', 'gpu']) {
  test(`the reference checkpoints on the ${device === 'gpu' ? 'GPU' : 'processor'}`, async () => {
    assert.ok(folders.length >= 4, `${folders}`);
    const { context, page } = await bare();
    for (const folder of folders) {
      const { passed, path, rows, n_tokens } = await verify(page, folder, device);
      const missed = rows.filter((row) => !row.passed).map(({ check, found, bound }) => `${check}: ${found}, allowed ${bound}`);
      assert.deepEqual([folder, passed, missed], [folder, true, []]);
      assert.equal(path, device === 'gpu' ? 'kernels' : 'reference');
      assert.ok(rows.length > 4 && n_tokens > 1, `${rows.length} rows of ${n_tokens} tokens`);
      console.log(`${folder}, ${path}: ${rows.length} checks of ${n_tokens} tokens passed`);
    }
    await context.close();
  });
}

test('a reference value that differs is found', async () => {
  const { context, page } = await bare();
  const { passed, rows } = await verify(page, folders[0], 'cpu', true);
  assert.equal(passed, false);
  assert.equal(rows.filter((row) => !row.passed).length, 1, JSON.stringify(rows));
  await context.close();
});
