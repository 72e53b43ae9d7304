/** Keys by which writes are named, so that one that is sent again is done once. */

/** A key like no other. */
export function newKey() {
  // Absent on pages without a secure context.
  return (
    globalThis.crypto?.randomUUID?.() ??
    `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}-${Math.random().toString(36).slice(2)}`
  );
}
