// Run the unit tests of one Move package in the real Move VM (WebAssembly), without a network.
// usage: node test.mjs REQUEST.json REPLY.json
//   request: as for compile.mjs, but the framework must be its sources: declarations alone cannot run
//   reply:   {"passed": bool, "output": text} or {"error": text}
import fs from "node:fs";
import { initMovePackageBuilder, testMovePackage } from "@zktx.io/sui-move-builder/full";
import { frameworkFetcher } from "./framework.mjs";

const [requestPath, replyPath] = process.argv.slice(2);
const request = JSON.parse(fs.readFileSync(requestPath, "utf8"));

await initMovePackageBuilder();
const fetcher = frameworkFetcher(request.framework);
const result = await testMovePackage({ files: request.files, network: "mainnet", fetcher });
const reply = "error" in result ? { error: result.error } : { passed: result.passed, output: result.output };
fs.writeFileSync(replyPath, JSON.stringify(reply));
