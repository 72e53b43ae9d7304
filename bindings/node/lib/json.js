'use strict';

// Values as JSON text: as JSON.stringify has it, but nothing becomes `null` or `{}` silently.

const { shown } = require('./errors.js');

/** Objects that JSON.stringify takes apart rightly, by what Object.prototype.toString calls them. */
const TAKEN = new Set(['Object', 'Array', 'Arguments', 'Number', 'String', 'Boolean', 'BigInt']);

/** Levels of a value that are looked at without a list of where one is: more than the default limit of a server. */
const DEPTH_LOOKED_AT_MAX = 100;

const MAP_LIKE = new Set(['Map', 'Set', 'WeakMap', 'WeakSet']);

/**
 * The JSON text of a value; `undefined` for what JSON has no text for. `Date` and others with a `toJSON` are what that gives;
 * members that are undefined are left out, and elements are `null`, as everybody expects of JSON.stringify.
 *
 * Throws a `TypeError` that names the place: at numbers that JSON cannot hold, and at objects whose content would be lost.
 */
function stringify(value, name = 'value') {
  return isPlain(value, 0) ? JSON.stringify(value) : checked(value, name);
}

/** Whether a value is nothing that needs a closer look: that costs four times what JSON.stringify does. */
function isPlain(value, depth) {
  switch (typeof value) {
    case 'number':
      return Number.isFinite(value);
    case 'bigint':
      return false;
    case 'object':
      break;
    default:
      return true;
  }
  if (value === null) return true;
  // A ring, perhaps.
  if (depth > DEPTH_LOOKED_AT_MAX || typeof value.toJSON === 'function') return false;
  if (Array.isArray(value)) return value.every((item) => isPlain(item, depth + 1));
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  for (const key in value) if (!isPlain(value[key], depth + 1)) return false;
  return true;
}

function checked(value, name) {
  // From the outermost object to the one whose members are looked at.
  const within = [];
  const place = (holder, key) => {
    while (within.length > 0 && within.at(-1).object !== holder) within.pop();
    return within.map((step) => step.key).join('') + step(holder, key, within.length);
  };
  return JSON.stringify(value, function (key, member) {
    switch (typeof member) {
      case 'number':
        if (!Number.isFinite(member)) throw new TypeError(`${name}${place(this, key)} is ${member}, which JSON has no text for`);
        return member;
      case 'bigint':
        throw new TypeError(`${name}${place(this, key)} is ${member}n: JSON has no such numbers; write it as text`);
      case 'object': {
        if (member === null) return member;
        const at = place(this, key);
        const kind = Object.prototype.toString.call(member).slice(8, -1);
        if (kind === 'Number' && !Number.isFinite(Number(member))) {
          throw new TypeError(`${name}${at} is ${Number(member)}, which JSON has no text for`);
        }
        if (MAP_LIKE.has(kind) || (!TAKEN.has(kind) && Object.keys(member).length === 0 && !ArrayBuffer.isView(member))) {
          throw new TypeError(`${name}${at} is ${/^[AEIOU]/.test(kind) ? 'an' : 'a'} ${kind}, whose content JSON would lose${ADVICE[kind] ?? ''}`);
        }
        within.push({ object: member, key: step(this, key, within.length) });
        return member;
      }
      default:
        return member;
    }
  });
}

const ADVICE = { Map: '; write Object.fromEntries(map)', Set: '; write [...set]' };

/** A member or element, as one writes it behind its object; nothing for the whole value. */
function step(holder, key, depth) {
  if (depth === 0) return '';
  if (Array.isArray(holder)) return `[${key}]`;
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(shown(key).slice(1, -1))}]`;
}

module.exports = { stringify };
