// moto, an AWS emulator, as a process of its own.
//
// GREENLIGHT_TEST_PYTHON names the python that has it (default ../.venv/bin/python, which `scripts/setup.sh test`
// fills). Without one the test fails and says so: a test that skips itself proves nothing.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const PYTHON =
  process.env.GREENLIGHT_TEST_PYTHON || fileURLToPath(new URL('../../../.venv/bin/python', import.meta.url));
const START_MILLIS = 60000;

// Starts it on a port of its own choice: {url, stop}.
export function startMoto() {
  const environment = { ...process.env };
  for (const name of ['PYTHONPATH', 'PYTHONHOME', 'MOTO_PORT']) {
    delete environment[name];
  }
  const child = spawn(PYTHON, ['-m', 'moto.server', '-H', '127.0.0.1', '-p', '0'], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe']
  });
  let said = '';
  return new Promise((resolve, reject) => {
    const stop = () => {
      child.kill('SIGKILL');
    };
    process.once('exit', stop);
    const fail = (why) => {
      stop();
      reject(
        new Error(
          'this test needs moto: run `scripts/setup.sh test`, or set GREENLIGHT_TEST_PYTHON to a python that has it' +
            ' (tried ' +
            PYTHON +
            ' -m moto.server: ' +
            why +
            ')'
        )
      );
    };
    const deadline = setTimeout(() => fail('it did not say where it listens: ' + said), START_MILLIS);
    const listen = (data) => {
      said += data;
      const found = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(said);
      if (found) {
        clearTimeout(deadline);
        child.removeAllListeners('exit');
        resolve({ url: found[1], stop });
      }
    };
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.once('error', (error) => {
      clearTimeout(deadline);
      fail(error.message);
    });
    child.once('exit', (code) => {
      clearTimeout(deadline);
      fail('it ended with status ' + code + ': ' + said.trim().split('\n').at(-1));
    });
  });
}
