/** Comparing JSON values. */

/** Whether two values are the same JSON, whatever the order of members. */
export function isEqual(a, b) {
  if (Object.is(a, b) || (typeof a === 'number' && a === b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  if (Array.isArray(a)) return a.length === b.length && a.every((item, at) => isEqual(item, b[at]));
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && isEqual(a[name], b[name]))
  );
}

/** A value after a merge patch (RFC 7396). */
export function patched(value, patch) {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const before = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
  const after = { ...before };
  for (const [name, member] of Object.entries(patch)) {
    if (member === null) delete after[name];
    // A member named `__proto__` is one like any other.
    else
      Object.defineProperty(after, name, {
        value: patched(before[name], member),
        enumerable: true,
        writable: true,
        configurable: true,
      });
  }
  return after;
}
