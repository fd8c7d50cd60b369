/** What the heads of both pages share; the build puts it where they name this file. */
export const HEAD = `    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover" />
    <meta name="color-scheme" content="light dark" />
    <meta name="theme-color" media="(prefers-color-scheme: light)" content="#faf8f5" />
    <meta name="theme-color" media="(prefers-color-scheme: dark)" content="#171513" />
    <link rel="icon" type="image/svg+xml" href="./icon.svg" />
    <title>bakehouse</title>
`;
