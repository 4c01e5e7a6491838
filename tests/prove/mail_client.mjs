// Prints the HTML and CSS features of mails that caniemail.com calls unsupported, by mail client, as JSON.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, ...mails] = process.argv.slice(2);
const { caniemail } = await import(pathToFileURL(createRequire(`${folder}/`).resolve("caniemail")));
const clients = ["apple-mail.*", "gmail.*", "outlook.*", "yahoo.*", "samsung-email.*"];
const found = {};
for (const mail of mails)
  for (const [client, issues] of caniemail({ clients, html: readFileSync(mail, "utf8") }).issues.errors)
    for (const { title } of issues) (found[title] ??= new Set()).add(client);
for (const title in found) found[title] = [...found[title]].sort();
console.log(JSON.stringify(found));
