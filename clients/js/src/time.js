/** Waiting, and giving up waiting. */

/** Waits; rejects with the signal's reason when it is aborted. */
export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const aborted = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted);
      resolve();
    }, ms);
    signal?.addEventListener('abort', aborted, { once: true });
  });
}

/** A wait after so many failures in a row: it doubles, and a random half of it is left out, so that those who were cut
 * off together do not come back together. */
export function backoff(failures, least, most) {
  const whole = Math.min(most, least * 2 ** Math.max(0, failures - 1));
  return whole / 2 + (Math.random() * whole) / 2;
}

/** A timer that does not keep a process alive. */
export function background(run, ms) {
  const timer = setTimeout(run, ms);
  timer.unref?.();
  return timer;
}

/**
 * A signal that is aborted when one of several is, or after `timeout` ms. `free` must be called when it is of no use any
 * more; `timedOut` tells which it was. (`AbortSignal.any` is younger than Node 18.)
 */
export function joined(signals, timeout) {
  const controller = new AbortController();
  const given = signals.filter(Boolean);
  const abort = (reason) => controller.abort(reason);
  const state = { signal: controller.signal, timedOut: false, free, restart };
  let timer;
  for (const signal of given) {
    if (signal.aborted) controller.abort(signal.reason);
    else listen(signal, abort);
  }
  restart(timeout);
  return state;

  function restart(ms) {
    clearTimeout(timer);
    if (ms === undefined || !Number.isFinite(ms)) return;
    timer = setTimeout(() => {
      state.timedOut = true;
      controller.abort(new DOMException('The time is up.', 'TimeoutError'));
    }, ms);
  }

  function free() {
    clearTimeout(timer);
    for (const signal of given) leave(signal, abort);
  }
}

/** Who waits for which signal: one listener for each signal, because Node warns of more than ten. */
const waiting = new WeakMap();

function listen(signal, abort) {
  let entry = waiting.get(signal);
  if (!entry) {
    const all = new Set();
    entry = {
      all,
      tell: () => {
        for (const one of [...all]) one(signal.reason);
      },
    };
    waiting.set(signal, entry);
  }
  if (entry.all.size === 0) signal.addEventListener('abort', entry.tell);
  entry.all.add(abort);
}

function leave(signal, abort) {
  const entry = waiting.get(signal);
  if (!entry?.all.delete(abort) || entry.all.size > 0) return;
  signal.removeEventListener('abort', entry.tell);
}
