// Model folders for tests, and a server of their own for them.
import { createServer } from 'node:http';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';

export const PIECE = 4 << 20;
const demo = (name) => readFileSync(new URL(`../../assets/demo/${name}`, import.meta.url));

/** The demo model in one file. */
export function demoFiles() {
  return new Map(['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'].map((name) => [name, demo(name)]));
}

/** Tensors of a safetensors file by name, in the order of the file: what its header says, and their bytes. */
export function tensorsOf(file) {
  const length = Number(file.readBigUInt64LE(0));
  const { __metadata__: _, ...header } = JSON.parse(file.subarray(8, 8 + length));
  const tensors = Object.entries(header).map(([name, { dtype, shape, data_offsets: [begin, end] }]) => ({ name, dtype, shape, bytes: file.subarray(8 + length + begin, 8 + length + end), begin }));
  return tensors.sort((a, b) => a.begin - b.begin);
}

function safetensors(tensors) {
  let at = 0;
  const entries = tensors.map(({ name, dtype, shape, bytes }) => [name, { dtype, shape, data_offsets: [at, (at += bytes.length)] }]);
  const header = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, ...tensors.map(({ bytes }) => bytes)]);
}

/** The demo model in shards of about the same length, with their index. */
export function shardedFiles(nShards) {
  const files = demoFiles();
  const whole = files.get('model.safetensors');
  files.delete('model.safetensors');
  const shards = Array.from({ length: nShards }, () => []);
  let at = 0;
  for (const tensor of tensorsOf(whole)) {
    shards[Math.min(nShards - 1, Math.floor((at * nShards) / whole.length))].push(tensor);
    at += tensor.bytes.length;
  }
  const weight_map = {};
  shards.forEach((tensors, idx) => {
    const name = `model-0000${idx + 1}-of-0000${nShards}.safetensors`;
    for (const tensor of tensors) weight_map[tensor.name] = name;
    files.set(name, safetensors(tensors));
  });
  files.set('model.safetensors.index.json', Buffer.from(JSON.stringify({ metadata: { total_size: at }, weight_map })));
  return files;
}

/** The demo model with biases of zero in its attention, which the kernels do not know. */
export function biasedFiles() {
  const files = demoFiles();
  const config = JSON.parse(files.get('config.json'));
  files.set('config.json', Buffer.from(JSON.stringify({ ...config, attention_bias: true })));
  const tensors = tensorsOf(files.get('model.safetensors'));
  const widths = { q_a_proj: config.q_lora_rank, kv_a_proj_with_mqa: config.kv_lora_rank + config.qk_rope_head_dim, o_proj: config.hidden_size };
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const [name, width] of Object.entries(widths)) {
      tensors.push({ name: `model.layers.${layer}.self_attn.${name}.bias`, dtype: 'F32', shape: [width], bytes: Buffer.alloc(4 * width) });
    }
  }
  files.set('model.safetensors', safetensors(tensors));
  return files;
}

/** A model that no machine has room for, as the first bytes of its file. */
export function hugeFiles() {
  const files = demoFiles();
  const config = JSON.parse(files.get('config.json'));
  files.set('config.json', Buffer.from(JSON.stringify({ ...config, intermediate_size: 1 << 24 })));
  let at = 0;
  const grown = tensorsOf(files.get('model.safetensors')).map(({ name, dtype, shape, bytes }) => {
    // Thirty-two values have a scale.
    const widened = (n) => (n === config.intermediate_size ? 1 << 24 : n * 32 === config.intermediate_size ? 1 << 19 : n);
    const wide = /\.mlp\.(gate|up|down)_proj/.test(name) ? shape.map(widened) : shape;
    const size = (bytes.length / shape.reduce((product, n) => product * n, 1)) * wide.reduce((product, n) => product * n, 1);
    return [name, { dtype, shape: wide, data_offsets: [at, (at += size)] }];
  });
  const header = Buffer.from(JSON.stringify(Object.fromEntries(grown)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  files.set('model.safetensors', { bytes: Buffer.concat([length, header], PIECE), length: 8 + header.length + at });
  return files;
}

/**
 * Serves files to any page. `log` has the name and the range of every request, `load` how many were answered at a time. `hasRanges` is whether ranges are answered;
 * `isZipped` whether small files are sent compressed, `isShy` whether the page may read no more headers than it must, `limit(name, begin)` says after how many bytes an answer breaks off, `rate` how many bytes go out in a second.
 */
export async function serve(files, options = {}) {
  const log = [];
  const load = { now: 0, peak: 0 };
  const server = createServer((request, response) => {
    const name = decodeURIComponent(request.url.split('/').at(-1));
    const file = files.get(name);
    const range = request.headers.range?.match(/bytes=(\d+)-(\d*)/);
    if (request.method === 'GET') log.push({ name, range: range?.[0].slice(6) });
    const headers = { 'Access-Control-Allow-Origin': '*', 'Access-Control-Expose-Headers': 'Content-Range, ETag', ETag: `"${options.version ?? 1}"` };
    if (options.isShy) delete headers['Access-Control-Expose-Headers'];
    if (!file) return response.writeHead(404, headers).end();
    if (options.isZipped && name.endsWith('.json')) {
      const zipped = gzipSync(file);
      return response.writeHead(200, { ...headers, 'Content-Encoding': 'gzip', 'Content-Length': zipped.length }).end(zipped);
    }
    const { bytes, length } = Buffer.isBuffer(file) ? { bytes: file, length: file.length } : file;
    const isPart = range && options.hasRanges !== false;
    const [begin, end] = isPart ? [Number(range[1]), Math.min(length, range[2] ? Number(range[2]) + 1 : length)] : [0, length];
    if (isPart) headers['Content-Range'] = `bytes ${begin}-${end - 1}/${length}`;
    response.writeHead(isPart ? 206 : 200, { ...headers, 'Content-Length': end - begin });
    const stop = options.limit?.(name, begin) ?? Infinity;
    load.peak = Math.max(load.peak, ++load.now);
    response.on('close', () => load.now--);
    void send(response, bytes.subarray(begin, Math.min(end, begin + stop)), options).then(() => (begin + stop < end ? response.destroy() : response.end()));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}/model/`, log, load, options, close };
}

async function send(response, bytes, options) {
  for (let at = 0; at < bytes.length && !response.destroyed; at += 1 << 16) {
    await new Promise((resolve) => response.write(bytes.subarray(at, at + (1 << 16)), resolve));
    if (options.rate) await new Promise((resolve) => setTimeout(resolve, ((1 << 16) / options.rate) * 1000));
  }
}
