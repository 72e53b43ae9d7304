export * from './index.js';
import * as rejoin from './index.js';
export default rejoin;
