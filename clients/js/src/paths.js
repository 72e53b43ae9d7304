/** Paths and prefixes as parts of a URL. The server checks everything; here is what must not get into a URL. */

import { InvalidArgumentError } from './errors.js';

/** A path, percent-encoded. */
export function encodePath(path) {
  if (typeof path !== 'string' || path === '') {
    throw invalid('A path is text of at least one segment.', path);
  }
  return path
    .split('/')
    .map((segment) => encodeSegment(segment, path))
    .join('/');
}

/** A prefix of paths, percent-encoded; it may be empty, and may end with `/`. */
export function encodePrefix(prefix) {
  if (typeof prefix !== 'string') throw invalid('A prefix is text.', prefix);
  if (prefix === '') return '';
  const segments = prefix.split('/');
  const last = segments.pop();
  const whole = segments.map((segment) => encodeSegment(segment, prefix));
  return [...whole, encode(last, prefix)].join('/');
}

function encodeSegment(segment, path) {
  if (segment === '') throw invalid('A path has no empty segments.', path);
  // A URL with them is another URL, encoded or not.
  if (segment === '.' || segment === '..') throw invalid('No segment of a path is `.` or `..`.', path);
  return encode(segment, path);
}

function encode(text, path) {
  try {
    return encodeURIComponent(text);
  } catch (cause) {
    throw invalid('A path is well-formed Unicode text.', path, cause);
  }
}

function invalid(message, path, cause) {
  return new InvalidArgumentError('invalid_path', message, {
    path: typeof path === 'string' ? path : undefined,
    hint: 'Write a path as `users/alice`: 1 to 64 segments joined by `/`.',
    cause,
  });
}
