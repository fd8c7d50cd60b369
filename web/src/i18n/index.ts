import i18next from "i18next";
import { initReactI18next } from "react-i18next";
import en from "./en.json";

export const LANGUAGES = { en: "English", pt: "Português", zh: "中文" } as const;
export type Language = keyof typeof LANGUAGES;

const KEPT = "bakehouse.language";
const others = { pt: () => import("./pt.json"), zh: () => import("./zh.json") };

/** A frame in another site may be given no storage. */
function keptLanguage(): string | null {
  try {
    return localStorage.getItem(KEPT);
  } catch {
    return null;
  }
}

export function wantedLanguage(): Language {
  const wished = [keptLanguage(), ...navigator.languages];
  const found = wished.map((text) => text?.slice(0, 2).toLowerCase()).find((text) => text && text in LANGUAGES);
  return (found as Language | undefined) ?? "en";
}

/** Use a language, whose texts are fetched when they are first needed. */
export async function useLanguage(language: Language): Promise<void> {
  if (language !== "en" && !i18next.hasResourceBundle(language, "translation")) {
    const texts = await others[language]();
    i18next.addResourceBundle(language, "translation", texts.default);
  }
  await i18next.changeLanguage(language);
  document.documentElement.lang = language;
}

export async function chooseLanguage(language: Language): Promise<void> {
  try {
    localStorage.setItem(KEPT, language);
  } catch {
    // it is used for as long as the page is open
  }
  await useLanguage(language);
}

export async function startLanguages(): Promise<void> {
  await i18next.use(initReactI18next).init({
    lng: "en",
    fallbackLng: "en",
    resources: { en: { translation: en } },
    interpolation: { escapeValue: false },
    returnNull: false,
  });
  await useLanguage(wantedLanguage());
}
