// node build.mjs OUT: the page in OUT/site, ready for any static server, and the npm package in OUT/sferic with an example beside it.
// The wasm module has to be in package/wasm: `cargo xtask web` makes it and calls this.
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const here = fileURLToPath(new URL('.', import.meta.url));
const out = resolve(process.argv[2] ?? join(here, 'dist'));
const demo = join(here, '../assets/demo');
const modelFiles = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'];

// A part of the checksum is in the address of the model: browsers keep models by address, so a new one needs a new address.
const hash = createHash('sha256');
for (const name of modelFiles) hash.update(readFileSync(join(demo, name)));
const model = `scout-${hash.digest('hex').slice(0, 12)}/`;

// Verdicts of the self-test are of one build of the module.
const module = createHash('sha256').update(readFileSync(join(here, 'package/wasm/sferic_web_bg.wasm'))).digest('hex').slice(0, 12);

const shared = { configFile: false, base: './', logLevel: 'warn', worker: { format: 'es' } };
const target = { target: 'es2022', emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false } };

await build({
  ...shared,
  root: join(here, 'page'),
  define: { BUILD: JSON.stringify(module), MODEL: JSON.stringify(model) },
  resolve: { alias: { sferic: join(here, 'package/src/index.ts') } },
  build: { ...target, outDir: join(out, 'site'), rollupOptions: { input: ['index.html', 'bench.html'].map((name) => join(here, 'page', name)) } },
});

// What the service worker keeps: everything that the page consists of.
const files = readdirSync(join(out, 'site'), { recursive: true, withFileTypes: true })
  .filter((file) => file.isFile() && file.name !== 'sw.js')
  .map((file) => relative(join(out, 'site'), join(file.parentPath ?? file.path, file.name)).replaceAll('\\', '/'))
  .sort();
const worker = join(out, 'site/sw.js');
const version = createHash('sha256');
for (const file of files) version.update(file).update(readFileSync(join(out, 'site', file)));
const script = readFileSync(worker, 'utf8')
  .replace('const FILES = [];', `const FILES = ${JSON.stringify(files)};`)
  .replace('sferic-development', `sferic-${version.digest('hex').slice(0, 12)}`);
writeFileSync(worker, script);

const entry = { input: join(here, 'package/src/index.ts'), preserveEntrySignatures: 'strict', output: { entryFileNames: 'sferic.js' } };
await build({ ...shared, root: here, publicDir: false, define: { BUILD: JSON.stringify(module) }, build: { ...target, outDir: join(out, 'sferic/dist'), rollupOptions: entry } });
execFileSync('npx', ['tsc', '--project', 'tsconfig.package.json', '--outDir', join(out, 'sferic/dist')], { cwd: here, stdio: 'inherit' });
cpSync(join(here, 'package/package.json'), join(out, 'sferic/package.json'));
rmSync(join(out, 'examples'), { recursive: true, force: true });
cpSync(join(here, 'examples'), join(out, 'examples'), { recursive: true });

mkdirSync(join(out, 'site', model), { recursive: true });
for (const name of modelFiles) cpSync(join(demo, name), join(out, 'site', model, name));
cpSync(join(out, 'site', model), join(out, 'examples/scout'), { recursive: true });
console.log(`${join(out, 'site')}: the page; ${join(out, 'sferic')}: the package`);
