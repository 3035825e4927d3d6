// Keeps the page's own files, so that it opens without a network. Models are kept by the package, not here.
// The build writes the list of files and its checksum here; a new list makes this a new service worker.
const FILES = [];
const CACHE = 'sferic-development';

self.addEventListener('install', (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(FILES)).then(() => self.skipWaiting()));
});

self.addEventListener('activate', (event) => {
  const isOld = (name) => name.startsWith('sferic-') && name !== CACHE;
  const clear = caches.keys().then((names) => Promise.all(names.filter(isOld).map((name) => caches.delete(name))));
  event.waitUntil(clear.then(() => self.clients.claim()));
});

self.addEventListener('fetch', (event) => {
  const { pathname } = new URL(event.request.url);
  const folder = new URL('./', self.location).pathname;
  const name = pathname.startsWith(folder) ? pathname.slice(folder.length) || 'index.html' : undefined;
  if (event.request.method !== 'GET' || !FILES.includes(name)) return;
  event.respondWith(caches.match(new URL(name, self.location), { cacheName: CACHE }).then((kept) => kept ?? fetch(event.request)));
});
