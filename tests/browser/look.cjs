// Opens a page as a reader does, in headless Chromium, and writes down what was seen there.
//
//   node look.cjs FILE.html DIRECTORY
//
// What was seen is left in DIRECTORY: seen.json, screenshots and a PDF. tests/it/page/browser.rs decides what is right.
"use strict";
const { chromium } = require("playwright-core");
const fs = require("node:fs");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const [file, directory] = process.argv.slice(2);
const url = pathToFileURL(path.resolve(file)).href;

// The sandbox of Chromium itself needs a user that is not root; the other flags keep it from asking its maker for anything.
const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/** A new page that writes down whatever goes wrong in it. */
async function open(browser, seen, options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.on("request", (request) => { if (request.url() !== url && !request.url().startsWith("data:")) seen.requests.push(request.url()); });
  page.on("console", (message) => seen.console.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on("popup", (popup) => seen.requests.push("popup " + popup.url()));
  page.on("framenavigated", (frame) => { if (frame.url().split("#")[0] !== url) seen.requests.push("went to " + frame.url()); });
  await page.addInitScript(() => {
    window.violations = [];
    document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective + " " + event.blockedURI));
  });
  await page.goto(url, { waitUntil: "load" });
  return page;
}

/** What the document consists of, and the texts by which strangers' words are found again. */
const structure = () => {
  const texts = (selector) => [...document.querySelectorAll(selector)].map((element) => element.textContent);
  const all = [...document.querySelectorAll("*")];
  return {
    title: document.title,
    headline: document.querySelector("h1").textContent,
    elements: [...new Set(all.map((element) => element.localName))].sort(),
    scripts: document.scripts.length,
    handlers: all.flatMap((element) => [...element.attributes].filter((attribute) => attribute.name.startsWith("on") || attribute.name === "style").map((attribute) => attribute.name)),
    attributes: [...new Set(all.flatMap((element) => element.localName === "html" ? [] : [...element.attributes].map((attribute) => attribute.name)))].sort(),
    links: [...new Set([...document.querySelectorAll("[href], [src], [action]")].map((element) => (element.getAttribute("href") ?? element.getAttribute("src")).slice(0, 5)))].sort(),
    deadLinks: [...document.querySelectorAll("a[href^='#']")].map((link) => link.getAttribute("href").slice(1)).filter((id) => !document.getElementById(id)),
    duplicateIds: all.map((element) => element.id).filter((id, index, ids) => id && ids.indexOf(id) !== index),
    unlabelled: [...document.querySelectorAll("main section")].filter((section) => !document.getElementById(section.getAttribute("aria-labelledby"))).length,
    landmarks: ["header", "nav", "main", "footer"].map((name) => document.querySelectorAll(name).length),
    headings: [...document.querySelectorAll("main h1, main h2, main h3, main h4")].map((heading) => Number(heading.localName[1])),
    texts: {
      paths: texts(".difference > summary > code"),
      names: texts(".tree .name"),
      cells: texts(".conditions td code"),
      reasons: texts(".conditions td p"),
      causes: texts(".cause p"),
      titles: texts(".cause h3"),
      sides: texts(".side pre"),
      facts: texts(".facts dd"),
      findings: texts("#check li"),
      columns: texts(".matrix thead th"),
    },
    pwned: window.pwned ?? null,
  };
};

/** The colours of the page and of its text, and how far apart they are at worst, as WCAG 2.2 counts it. */
const colours = () => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = (colour) => { const [r, g, b] = numbers(colour).map(channel); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (element) => {
    for (let up = element; up; up = up.parentElement) {
      const colour = getComputedStyle(up).backgroundColor;
      if ((numbers(colour)[3] ?? 1) !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let worst = { ratio: 21 };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, style")) continue;
    const [text, back] = [getComputedStyle(element).color, behind(element)];
    const [high, low] = [light(text), light(back)].sort((one, two) => two - one);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < worst.ratio) worst = { ratio, text, back, words: walker.currentNode.data.trim().slice(0, 40), where: element.className };
  }
  return { page: getComputedStyle(document.body).backgroundColor, text: getComputedStyle(document.body).color, worst };
};

async function main() {
  const browser = await chromium.launch({ executablePath: process.env.PGPROOF_TEST_CHROMIUM ?? "/usr/bin/chromium", args: ARGUMENTS });
  const seen = { requests: [], console: [], errors: [], dialogs: [] };
  try {
    const page = await open(browser, seen, { colorScheme: "light" });
    const shot = (name, options) => page.screenshot({ path: path.join(directory, name), ...options });
    seen.structure = await page.evaluate(structure);
    seen.light = await page.evaluate(colours);
    await shot("light.png");
    await page.emulateMedia({ colorScheme: "dark" });
    seen.dark = await page.evaluate(colours);
    await shot("dark.png");
    await page.getByText("Light", { exact: true }).click();
    seen.lightChosen = await page.evaluate(colours);
    await page.emulateMedia({ colorScheme: "light" });
    await page.getByText("Dark", { exact: true }).click();
    seen.darkChosen = await page.evaluate(colours);
    await page.getByText("System", { exact: true }).click();

    // From the top, by keyboard alone.
    const focused = () => page.evaluate(() => (document.activeElement.textContent || document.activeElement.id).trim().slice(0, 60));
    await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
    await page.reload();
    await page.keyboard.press("Tab");
    seen.skip = await page.evaluate(() => ({ text: document.activeElement.textContent, left: document.activeElement.getBoundingClientRect().left >= 0 }));
    await page.keyboard.press("Enter");
    seen.skipped = await page.evaluate(() => document.activeElement.id);
    seen.outline = await page.evaluate(() => {
      const link = document.querySelector("nav a");
      link.focus();
      return getComputedStyle(link).outlineStyle;
    });
    const tree = page.locator(".tree").first();
    if (await tree.locator("summary").count()) {
      await tree.locator("summary").first().focus();
      seen.walk = [await focused()];
      for (const key of ["ArrowDown", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowLeft", "ArrowRight", "End", "Home"]) {
        await page.keyboard.press(key);
        seen.walk.push(key + ": " + await focused());
      }
    }
    if (await tree.count()) {
      const field = page.locator(".tree-tools input[type=search]").first();
      if (await field.count()) {
        const shown = () => tree.evaluate((tree) => [...tree.querySelectorAll(".name")].filter((name) => name.checkVisibility()).map((name) => name.textContent));
        const before = await shown();
        await field.fill(process.env.LOOK_FOR ?? "zzz");
        seen.found = { told: await page.locator(".tree-tools output").first().textContent(), shown: await shown() };
        await field.press("Escape");
        seen.restored = JSON.stringify(before) === JSON.stringify(await shown());
      }
      const only = page.locator(".only").first();
      if (await only.count()) {
        await only.check();
        seen.only = await tree.evaluate((tree) => [...tree.querySelectorAll(".name")].filter((name) => name.checkVisibility()).map((name) => name.textContent));
        await only.uncheck();
      }
    }
    const link = page.locator(".tree a:visible, .matrix a:visible").last();
    if (await link.count()) {
      await link.click();
      await page.waitForFunction(() => document.activeElement.localName === "summary").catch(() => {});
      seen.followed = await page.evaluate(() => ({ open: document.querySelector(location.hash)?.open ?? null, focus: document.activeElement.localName }));
    }

    await page.setViewportSize({ width: 390, height: 844 });
    seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await shot("narrow.png");
    await page.setViewportSize({ width: 1280, height: 900 });
    const pdf = await page.pdf({ path: path.join(directory, "print.pdf"), format: "A4", printBackground: false });
    seen.pdf = { size: pdf.length, pages: (pdf.toString("latin1").match(/\/Type\s*\/Page[^s]/g) ?? []).length };
    await page.emulateMedia({ media: "print" });
    seen.print = await page.evaluate(() => ({ header: document.querySelector(".top").checkVisibility(), sides: [...document.querySelectorAll(".side")].every((side) => side.checkVisibility({ contentVisibilityAuto: true })) }));
    seen.violations = await page.evaluate(() => window.violations);
    seen.pwned = await page.evaluate(() => window.pwned ?? null);

    // The same without the page's script.
    const plain = await open(browser, seen, { javaScriptEnabled: false });
    seen.withoutScript = {
      headline: await plain.locator("h1").textContent(),
      folded: await plain.locator(".tree details:not([open]) > summary").count(),
    };
    const folded = plain.locator(".tree details:not([open]) > summary").first();
    if (await folded.count()) {
      await folded.click();
      seen.withoutScript.unfolded = await plain.locator(".tree details:not([open]) > summary").count();
    }
  } finally {
    await browser.close();
  }
  fs.writeFileSync(path.join(directory, "seen.json"), JSON.stringify(seen));
}

main().catch((error) => { console.error(error); process.exit(1); });
