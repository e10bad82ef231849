// SPDX-License-Identifier: MIT
// peer_onnxruntime.js MODULES GRAPH IMAGE SIZE THREADS: ONNX Runtime's side of compare.py. MODULES is the directory that holds
// node_modules. It answers the commands of peer_fastvit.cpp, but for `peak`, and
//
//     numbers FILE    writes the outputs that are single numbers, by name, in JSON: {}
'use strict';

const fs = require('fs');
const path = require('path');
const readline = require('readline');
const { createRequire } = require('module');

const [modules, graph, imageFile, sizeText, threadsText] = process.argv.slice(2);
const required = createRequire(path.join(path.resolve(modules), 'package.json'));
const ort = required('onnxruntime-node');
const { version } = required('onnxruntime-node/package.json');

// As peer_fastvit.cpp does.
const peakMemory = () => Number(/^VmHWM:\s*(\d+)/m.exec(fs.readFileSync('/proc/self/status', 'latin1'))?.[1] ?? 0) / 1024;
const answer = (value) => process.stdout.write(JSON.stringify(value) + '\n');

async function main() {
    const bytes = fs.readFileSync(imageFile);
    const size = Number(sizeText);
    const pixels = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    const feeds = { images: new ort.Tensor('float32', pixels, [1, 3, size, size]) };

    const memoryBefore = peakMemory();
    const begin = process.hrtime.bigint();
    const session = await ort.InferenceSession.create(graph, {
        executionProviders: ['cpu'],
        graphOptimizationLevel: 'all',
        executionMode: 'sequential',
        intraOpNumThreads: Number(threadsText),
        interOpNumThreads: 1,
    });
    const loadMs = Number(process.hrtime.bigint() - begin) / 1e6;
    answer({
        name: `ONNX Runtime ${version}`,
        load_ms: loadMs,
        memory_before_mib: memoryBefore,
        memory_loaded_mib: peakMemory(),
    });

    const obey = async (line) => {
        const [command, ...rest] = line.split(' ');
        if (command === 'run') {
            const [warmUp, count] = rest.map(Number);
            for (let i = 0; i < warmUp; ++i) await session.run(feeds);
            const times = [];
            for (let i = 0; i < count; ++i) {
                const start = process.hrtime.bigint();
                await session.run(feeds);
                times.push(Number(process.hrtime.bigint() - start) / 1e6);
            }
            answer(times);
        } else if (command === 'output') {
            const { logits } = await session.run(feeds);
            fs.writeFileSync(rest.join(' '), Buffer.from(logits.data.buffer, logits.data.byteOffset, logits.data.byteLength));
            answer({});
        } else if (command === 'numbers') {
            const numbers = {};
            for (const [name, { data }] of Object.entries(await session.run(feeds)))
                if (data.length === 1) numbers[name] = data[0];
            fs.writeFileSync(rest.join(' '), JSON.stringify(numbers));
            answer({});
        } else if (command === 'memory') {
            answer({ memory_peak_mib: peakMemory() });
        } else {
            throw new Error(`unknown command: ${line}`);
        }
    };
    for await (const line of readline.createInterface({ input: process.stdin })) await obey(line);
}

main().catch((error) => {
    console.error(`peer_onnxruntime.js: ${error.message}`);
    process.exit(1);
});
