// Which file names are taken for content-hashed. A name that wrongly is would show visitors an old release.

import assert from 'node:assert/strict';
import test from 'node:test';

import { isContentHashed } from '../src/core/caching.js';

const HASHED = [
  // webpack, Parcel, Next.js: hex
  'main.3f2a9c1b.js',
  'main.3f2a9c1b.js.map',
  'main.3f2a9c1b.chunk.js',
  'styles-1a2b3c4d5e6f.css',
  'runtime_9e8d7c6b.min.js',
  'logo.0a1b2c3d4e5f60718293.svg',
  'app-3f2a9c1b-es2015.js',
  'font.d41d8cd98f00b204e9800998ecf8427e.woff2',
  'a.b.3f2a9c1b.js',
  // Vite, Rollup: base64url
  'index-BcD3_x1Z.js',
  'index-C8xQ2bZ1.css',
  'vendor-Xy9Zk2Lm.js',
  'index-D-x_9aB1.js',
  'Inter.BcD3_x1Z.woff2',
  'page_B3kT9xQa.js',
  // esbuild: base32
  'chunk-7QXZ2K4M.js',
  'app-A2B3C4D5.js.map'
];
const NOT_HASHED = [
  'index.html',
  'app.js',
  'main.chunk.js',
  'jquery-3.7.1.min.js',
  'app.v1.2.3.js',
  '',
  'favicon.ico',
  'no-extension',
  'robots.txt',
  // always fresh
  'sw.js',
  'service-worker.js',
  // words, numbers, dates, cameras
  'logo-Version2.png',
  'photo-IMG_2041.jpg',
  'photo-DSC_0042.jpg',
  'menu-cafe2024.html',
  'feed-facade2024.xml',
  'report-20240101.pdf',
  'report-20240101a.pdf',
  'setup-Win11Pro.exe',
  'page-MyPage12.html',
  'x-2024-Q10.pdf',
  'x-1-Jan-24.pdf',
  'photo-iPhone15.jpg',
  'app-deadbeef.js',
  'app-12345678.js',
  'app-abcdefgh.js',
  'app-ABCDEFGH.js',
  'app-abcdefg1.js',
  'data.1234567.json',
  // too short, too long, in the wrong place
  'main.3f2a9c1.js',
  'index-BcD3_x1.js',
  'index-BcD3_x1Zq.js',
  'index-BcD3_x1Z-old.js',
  '3f2a9c1b.js',
  'BcD3_x1Z.js',
  'main.3f2a9c1b',
  'main-BcD3_x1Z',
  'indexBcD3_x1Z.js',
  // identifiers of things that change
  'user-550e8400-e29b-41d4-a716-446655440000.json',
  '550e8400-e29b-41d4-a716-9f8b7c6d5e4f.json'
];

test('names with a hash of the content are known', () => {
  for (const name of HASHED) {
    assert.ok(isContentHashed('/releases/1.42.0/assets/' + name), name);
  }
});

test('in doubt a name has no hash', () => {
  for (const name of NOT_HASHED) {
    assert.ok(!isContentHashed('/releases/1.42.0/assets/' + name), name);
  }
});

test('a hash in a folder says nothing about the file', () => {
  // Part numbers and photos, outside of the folders and kinds that bundlers write.
  for (const name of ['report-2024Q3v2.pdf', 'sku-A1B2C3D4.jpg', 'photo_DSC1a2B3.jpg', 'img-2K4K8Kxx.png']) {
    assert.ok(!isContentHashed('/releases/1.42.0/images/' + name), name);
  }
  assert.ok(isContentHashed('/releases/1.42.0/_next/index-BcD3_x1Z.js'));
  assert.ok(!isContentHashed('/releases/1.42.0/app-3f2a9c1b/index.html'));
  assert.ok(!isContentHashed('/releases/app.3f2a9c1b.js/'));
});
