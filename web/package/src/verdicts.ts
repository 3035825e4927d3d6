import type { Verdict } from './reports';

const STORE = 'verdicts';

/** Returns what an earlier self-test has found of the same adapter, browser and build. */
export async function storedVerdict(key: string): Promise<Verdict | undefined> {
  return inStore('readonly', (store) => store.get(key) as IDBRequest<Verdict | undefined>);
}

export async function keepVerdict(verdict: Verdict): Promise<void> {
  await inStore('readwrite', (store) => store.put(verdict, verdict.key));
}

/** Does one thing in the store; `undefined` where the browser has none or refuses it, as in some private windows. */
async function inStore<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> {
  try {
    const opening = indexedDB.open('sferic', 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    const database = await settled(opening);
    try {
      return await settled(act(database.transaction(STORE, mode).objectStore(STORE)));
    } finally {
      database.close();
    }
  } catch (error) {
    console.warn('sferic: verdicts of the self-test are not kept:', error);
    return undefined;
  }
}

function settled<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('the database does not answer'));
  });
}
