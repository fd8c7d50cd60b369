// People of DiceBear styles, and its robots. For each style a table says which parts are drawn and what captions call
// them; it was made by looking at each part. Parts that are odd or hard to tell (masks, text, gestures, an eyepatch)
// are not in the tables, so they are never drawn.
import * as collection from '@dicebear/collection';
import { createAvatar } from '@dicebear/core';
import fs from 'node:fs';
import { chance, key, pick } from './chance.mjs';

const PEOPLE = JSON.parse(fs.readFileSync(new URL('../people.json', import.meta.url), 'utf8'));
const PLAIN = 0.6; // share of figures of whose eyes nothing is said
const DARK_GLASSES = '262e33';

const numbered = (prefix, numbers) => numbers.map((n) => prefix + String(n).padStart(2, '0'));
const v = (...numbers) => numbered('variant', numbers);
const long = (...numbers) => numbered('long', numbers);
const short = (...numbers) => numbered('short', numbers);

// -- styles ------------------------------------------------------------------------------------------------------
// colours  option names of the style that take the colour
// without  colours that the style cannot show
// fixed    options that never change; more(names) those that depend on the colours drawn
// parts    option -> {words: [variants]}: always drawn. A variant is a name, or options. '' says nothing.
//          {hair}, {cloth}, {hat}, {glass} stand for colour words; ', ' parts two tags.
// extras   the same, drawn with this chance
// eyes     the part that shows the eyes: nothing is said of it behind sunglasses
// faces    expression -> {option: [variants]}; plain is what an expression does not name
// said     words for variants that only an expression draws; says: words that are always true
// limits   words -> the expressions that can be seen with it
// patch    corrects the drawing; blackAndColoured: some of its hair is always black
const STYLES = {
  avataaars: {
    colours: { hair: ['hairColor', 'facialHairColor'], skin: ['skinColor'], cloth: ['clothesColor'], hat: ['hatColor'], glass: ['accessoriesColor'] },
    fixed: { style: ['default'], backgroundColor: ['transparent'] },
    parts: {
      top: {
        '{hat} fedora hat': ['hat'], '{hat} hijab': ['hijab'], '{hat} turban': ['turban'], '{hat} winter hat': ['winterHat1'],
        '{hat} bobble hat': ['winterHat02'], '{hat} beanie': ['winterHat03'],
        '{hair} bob cut': ['bob', 'miaWallace'], '{hair} hair bun': ['bun'], '{hair} curly hair': ['curly'],
        '{hair} wavy hair': ['curvy', 'bigHair'], '{hair} dreadlocks': ['dreads'], '{hair} afro': ['fro'],
        '{hair} medium hair': ['longButNotTooLong'], '{hair} side shave': ['shavedSides'],
        '{hair} long hair': ['straight01', 'straight02', 'straightAndStrand'],
        '{hair} short hair': ['shortFlat', 'shortRound', 'shortWaved', 'shortCurly', 'theCaesar', 'theCaesarAndSidePart'],
        '{hair} balding': ['sides'], bald: [{ topProbability: 0 }],
      },
      clothing: {
        '{cloth} hoodie': ['hoodie'], '{cloth} overalls': ['overall'], '{cloth} blazer and shirt': ['blazerAndShirt'],
        '{cloth} blazer and sweater': ['blazerAndSweater'], '{cloth} collared sweater': ['collarAndSweater'],
        '{cloth} shirt': ['shirtCrewNeck', 'shirtScoopNeck'], '{cloth} v-neck shirt': ['shirtVNeck'],
      },
      eyes: { '': ['default'], 'closed eyes': ['closed', 'happy'], winking: ['wink'], 'heart eyes': ['hearts'], 'looking aside': ['side'], 'wide eyes': ['surprised'] },
    },
    extras: {
      accessories: { chance: 0.3, words: { '{glass}glasses': ['prescription01'], '{glass}square glasses': ['prescription02'], '{glass}round glasses': ['round'], '{glass}sunglasses': ['sunglasses', 'wayfarers', 'kurt'] } },
      facialHair: { chance: 0.18, words: { '{hair} beard': ['beardLight', 'beardMedium'], '{hair} long beard': ['beardMajestic'], '{hair} moustache': ['moustacheFancy', 'moustacheMagnum'] } },
    },
    eyes: 'eyes',
    plain: { eyebrows: ['default', 'defaultNatural'] },
    faces: {
      smile: { mouth: ['default', 'twinkle'] }, 'big smile': { mouth: ['smile'] }, serious: { mouth: ['serious'] },
      sad: { mouth: ['sad'], eyebrows: ['sadConcerned', 'sadConcernedNatural'], eyes: ['default', 'default', 'cry'] },
      angry: { mouth: ['serious', 'sad'], eyebrows: ['angry', 'angryNatural'], eyes: ['default'] },
      surprised: { mouth: ['disbelief'], eyebrows: ['raisedExcited'], eyes: ['surprised'] },
      'tongue out': { mouth: ['tongue'] }, screaming: { mouth: ['screamOpen'] },
    },
    said: { crying: ['cry'] },
    limits: { '{glass}sunglasses': ['smile', 'big smile', 'serious', 'sad', 'tongue out', 'screaming'] }, // they hide what makes a face angry
  },
  openPeeps: {
    blackAndColoured: true,
    colours: { hair: ['headContrastColor'], skin: ['skinColor'], cloth: ['clothingColor'] },
    fixed: { maskProbability: 0 },
    parts: {
      head: {
        'black afro': ['afro'], 'black bob cut': ['bangs2', 'medium1'], 'black cornrows': ['cornrows2'], 'black dreadlocks': ['dreads1'],
        'black flat top': ['flatTop', 'flatTopLong'], '{hair} hair bun': ['grayBun'], '{hair} short hair': ['grayShort', 'short4'],
        '{hair} medium hair': ['bangs'], '{cloth} beanie': ['hatBeanie'], 'black fedora hat': ['hatHip'], 'black hijab': ['hijab'],
        '{cloth} turban': ['turban'], 'black long hair': ['long', 'longBangs'], 'black curly hair': ['longCurly'],
        'black medium hair': ['medium2', 'medium3', 'mediumBangs', 'mediumStraight'], 'black bangs': ['mediumBangs3'], '{hair} mohawk': ['mohawk'],
        bald: ['noHair1'], '{hair} balding': ['noHair3'], 'black short hair': ['pomp', 'shaved2', 'short1', 'short2', 'short5'], 'black spiky hair': ['shaved3'],
      },
      face: { '': ['smile', 'smileTeethGap'], 'closed eyes': ['calm', 'smileBig', 'solemn'], 'heart eyes': ['lovingGrin1', 'lovingGrin2'], 'wide eyes': ['awe', 'rage'] },
    },
    extras: {
      accessories: { chance: 0.25, words: { glasses: ['glasses', 'glasses3'], 'white glasses': ['glasses4'], 'round glasses': ['glasses2', 'glasses5'], sunglasses: ['sunglasses', 'sunglasses2'] } },
      facialHair: { chance: 0.18, words: { 'black beard': ['full', 'full2'], 'black long beard': ['full3'], '{hair} beard': ['full4'], 'black moustache': ['moustache3', 'moustache5', 'moustache7'], '{hair} moustache': ['moustache9'] } },
    },
    says: ['{cloth} shirt'],
    eyes: 'face',
    faces: {
      smile: { face: ['smile', 'smile', 'calm', 'awe'] }, 'big smile': { face: ['smileBig', 'smileTeethGap', 'smileTeethGap', 'lovingGrin1', 'lovingGrin2'] },
      angry: { face: ['veryAngry', 'veryAngry', 'rage'] }, serious: { face: ['serious'] }, sad: { face: ['solemn'] },
    },
  },
  pixelArt: {
    colours: { hair: ['hairColor'], skin: ['skinColor'], cloth: ['clothingColor'], hat: ['hatColor'], glass: ['glassesColor'] },
    fixed: { accessoriesProbability: 0, beardProbability: 0, hatProbability: 0 },
    more: ({ skin }) => ({ mouthColor: [['dark', 'brown'].includes(skin) ? 'f0a0a0' : 'b3202a'] }), // to be seen on the skin
    parts: {
      hair: {
        '{hair} long hair': long(1, 3, 7, 9, 12, 13, 20), '{hair} hair bun': long(5), '{hair} ponytail': long(6, 19), '{hair} pigtails': long(18),
        '{hair} two buns': long(14), '{hair} curly hair': ['long15', 'short11'], '{hair} bob cut': long(17), '{hair} spiky hair': short(13),
        '{hair} mohawk': short(21), '{hair} balding': short(18), '{hair} short hair': short(1, 2, 3, 6, 14, 15, 17, 22), '{hair} flat top': short(16),
        '{hat} beanie, {hair} short hair': v(1, 3, 4, 5, 9, 10).map((hat) => ({ hat: [hat], hatProbability: 100, hair: ['short02'] })),
        '{hat} cap, {hair} short hair': v(2, 7).map((hat) => ({ hat: [hat], hatProbability: 100, hair: ['short02'] })),
        '{hat} hat, {hair} short hair': v(6).map((hat) => ({ hat: [hat], hatProbability: 100, hair: ['short02'] })),
      },
      clothing: { '{cloth} shirt': v(1, 3, 4, 8, 23), '{cloth} v-neck shirt': v(11, 14), '{cloth} striped shirt': v(13), '{cloth} tank top': v(10, 19, 20) },
      eyes: { '': v(6, 9), 'looking aside': v(7, 8) },
    },
    extras: { glasses: { chance: 0.25, words: { '{glass}glasses': numbered('light', [2, 5, 6]), '{glass}sunglasses': numbered('dark', [5, 6]) } } },
    eyes: 'eyes',
    faces: { smile: { mouth: ['happy09'] }, 'big smile': { mouth: ['happy06'] }, sad: { mouth: ['sad01'] }, serious: { mouth: ['sad05', 'sad06'] }, surprised: { mouth: ['happy01'] }, smirk: { mouth: ['happy07', 'happy08', 'happy10', 'happy11'] } },
  },
  personas: {
    colours: { hair: ['hairColor'], skin: ['skinColor'], cloth: ['clothingColor'] },
    fixed: { nose: ['mediumRound', 'smallRound'] },
    patch: (svg) => svg.replace('style="mix-blend-mode:overlay" opacity=".36"', 'opacity=".08"'), // the face keeps the skin's colour
    parts: {
      hair: {
        '{hair} long hair': ['long', 'extraLong'], '{hair} side shave': ['sideShave'], '{hair} short hair': ['shortCombover', 'shortComboverChops'],
        '{hair} curly hair': ['curlyHighTop', 'curly'], '{hair} bob cut': ['bobCut'], '{hair} pigtails': ['pigtails'], '{hair} hair bun': ['straightBun', 'bunUndercut'],
        bald: ['bald'], '{hair} balding': ['balding'], 'red beanie': ['beanie'], '{hair} mohawk': ['mohawk'],
      },
      body: { '{cloth} shirt': ['squared', 'rounded'] },
      eyes: { '': ['open'], 'closed eyes': ['sleep', 'happy'], winking: ['wink'], 'square glasses': ['glasses'], sunglasses: ['sunglasses'] },
    },
    extras: { facialHair: { chance: 0.18, words: { '{hair} beard': ['beardMustache'], '{hair} moustache': ['pyramid', 'walrus'] } } },
    faces: { smile: { mouth: ['smile'] }, 'big smile': { mouth: ['bigSmile'] }, sad: { mouth: ['frown'] }, surprised: { mouth: ['surprise'] }, smirk: { mouth: ['smirk'] } },
    limits: { '{hair} beard': ['big smile'], '{hair} moustache': ['smile', 'big smile', 'surprised'] }, // the beard has a mouth of its own
  },
  bigEars: {
    without: { skin: ['dark'] }, // its thin lines would not be seen
    colours: { hair: ['hairColor'], skin: ['skinColor'] },
    fixed: { cheekProbability: 0, frontHair: v(2, 6, 10, 11, 12), face: v(1, 2, 3, 6, 7, 10) },
    parts: {
      hair: {
        '{hair} bob cut': long(4, 7, 9, 19), '{hair} long hair': long(18), '{hair} two buns': long(5), '{hair} hair bun': long(6), '{hair} pigtails': long(16),
        '{hair} ponytail': long(17), '{hair} curly hair': ['long13', 'short18'], '{hair} wavy hair': long(11, 15), '{hair} medium hair': short(9),
        '{hair} short hair': short(5, 8, 11, 13, 14, 16, 20), '{hair} spiky hair': short(3, 4, 10, 12, 19), '{hair} flat top': short(15),
      },
      eyes: { '': v(2, 3, 4, 5, 27, 28, 29, 30), 'wide eyes': v(14, 15, 20, 26), 'closed eyes': v(31, 32), 'looking aside': v(8, 9) },
    },
    eyes: 'eyes',
    faces: {
      smile: { mouth: v('0701', '0702') }, 'big smile': { mouth: v('0203', '0302', '0303') }, sad: { mouth: v('0705'), eyes: v(2, 4, 27, 28, 29, 30) },
      angry: { mouth: v('0704', '0705'), eyes: v(1) }, surprised: { mouth: v('0103', '0105'), eyes: v(14, 15, 26) }, smirk: { mouth: v('0707', '0708') },
    },
  },
  bigSmile: {
    colours: { hair: ['hairColor'], skin: ['skinColor'] },
    parts: {
      hair: {
        '{hair} short hair': ['shortHair', 'shavedHead'], '{hair} mohawk': ['mohawk'], '{hair} wavy hair': ['wavyBob'], '{hair} medium hair': ['straightHair'],
        '{hair} braids': ['braids'], '{hair} hair bun': ['bunHair'], '{hair} bangs': ['bangs'], '{hair} side shave': ['halfShavedHead'], '{hair} curly hair': ['curlyShortHair'],
      },
      eyes: { '': ['normal', 'cheery'], 'closed eyes': ['sleepy'], winking: ['winking'] },
    },
    extras: { accessories: { chance: 0.3, words: { 'yellow round glasses': ['glasses'], sunglasses: ['sunglasses'], 'brown moustache': ['mustache'] } } },
    eyes: 'eyes',
    faces: {
      'big smile': { mouth: ['openedSmile', 'gapSmile', 'teethSmile'] }, smile: { mouth: ['kawaii'] }, sad: { mouth: ['openSad'], eyes: ['sad'] },
      serious: { mouth: ['unimpressed'], eyes: ['normal'] }, angry: { mouth: ['unimpressed', 'openSad'], eyes: ['angry'] },
    },
    limits: { 'brown moustache': ['big smile'] }, // it covers the others
  },
  croodles: {
    without: { skin: ['dark'], hair: ['platinum', 'silver'] },
    colours: { hair: ['topColor'], skin: ['baseColor'] },
    fixed: { mustacheProbability: 0, face: v(1, 2, 4, 5, 7) },
    parts: {
      top: {
        '{hair} short hair': v(1, 9, 29), '{hair} spiky hair': v(2, 6), '{hair} curly hair': v(5, 11, 18), '{hair} long hair': v(12, 13, 14, 17),
        '{hair} ponytail': v(15), '{hair} pigtails': v(16), bald: v(28), '{hair} balding': v(27),
      },
      eyes: { '': v(1, 11, 16), 'wide eyes': v(2), 'closed eyes': v(3), 'looking aside': v(4), 'heart eyes': v(7), sunglasses: v(9), 'round glasses': v(14), 'square glasses': v(15) },
    },
    extras: { beard: { chance: 0.12, words: { 'black long beard': v(4) } } },
    faces: { smile: { mouth: v(2, 7, 16) }, 'big smile': { mouth: v(4, 10, 11) }, sad: { mouth: v(18) }, serious: { mouth: v(1, 6) } },
  },
  dylan: {
    colours: { hair: ['hairColor'], skin: ['skinColor'] },
    fixed: { backgroundColor: ['transparent'], facialHairProbability: 0 },
    parts: {
      hair: {
        '{hair} short hair': ['plain', 'parting', 'wavy'], '{hair} curly hair': ['shortCurls', 'longCurls'], '{hair} spiky hair': ['spiky'], '{hair} bob cut': ['roundBob'],
        '{hair} bangs': ['bangs'], '{hair} wavy hair': ['fluffy'], '{hair} flat top': ['flatTop'], '{hair} medium hair': ['shaggy'],
      },
    },
    faces: { smile: { mood: ['happy'] }, 'big smile': { mood: ['superHappy'] }, angry: { mood: ['angry'] }, sad: { mood: ['sad'] }, serious: { mood: ['neutral'] } },
    limits: Object.fromEntries(['bangs', 'medium hair', 'wavy hair'].map((words) => [`{hair} ${words}`, ['smile', 'big smile', 'angry', 'serious']])), // they hide sad brows
  },
  lorelei: {
    colours: { hair: ['hairColor'], skin: ['skinColor'] },
    fixed: { earringsProbability: 0, frecklesProbability: 0, hairAccessoriesProbability: 0 },
    parts: {
      hair: {
        '{hair} short hair': v(1, 2, 3, 6, 7, 8, 11, 12, 43, 47), '{hair} curly hair': v(5, 24, 39), '{hair} medium hair': v(13, 15, 21), '{hair} bangs': v(16, 23),
        '{hair} bob cut': v(19), '{hair} wavy hair': v(18, 32, 35, 37), '{hair} balding': v(25), '{hair} two buns': v(26), '{hair} mohawk': v(27),
        '{hair} ponytail': v(29, 31, 33, 42), '{hair} hair bun': v(38, 46), '{hair} spiky hair': v(4),
      },
      eyes: { '': v(2, 4, 6, 10, 11, 12, 13, 14, 16, 21, 23), 'closed eyes': v(1, 19, 22), winking: v(15, 18) },
    },
    extras: {
      glasses: { chance: 0.25, words: { 'round glasses': v(1), sunglasses: v(2), glasses: v(3), 'square glasses': v(4) } },
      beard: { chance: 0.12, words: { '{hair} beard': v(1, 2) } },
    },
    eyes: 'eyes',
    plain: { eyebrows: v(5, 7, 9) },
    faces: {
      smile: { mouth: ['happy01', 'happy02'] }, 'big smile': { mouth: ['happy05', 'happy06', 'happy16'] }, 'tongue out': { mouth: ['happy09'] },
      sad: { mouth: ['sad05'], eyebrows: v(1), eyes: v(6, 13, 16) },
      angry: { mouth: ['sad05', 'sad06'], eyebrows: v(13), eyes: v(4, 6, 12, 16) },
      surprised: { mouth: ['sad01'], eyes: v(13, 16, 21) },
    },
    limits: { sunglasses: ['smile', 'big smile', 'tongue out', 'surprised'] },
  },
  notionists: {
    colours: {},
    fixed: { gestureProbability: 0, bodyIconProbability: 0 },
    parts: {
      hair: {
        'white cap': ['hat'], 'black short hair': v(1, 5, 6, 13, 15, 16, 18, 19, 25, 27, 34, 35, 38, 49, 54), 'black medium hair': v(2, 10, 23, 58), 'black long hair': v(28),
        'black bangs': v(41), 'black bob cut': v(36, 43), 'black curly hair': v(9, 20, 22, 33), 'black hair bun': v(29, 48), 'black ponytail': v(39, 47),
        'black two buns': v(59), 'black spiky hair': v(50, 52, 53), 'white turban': v(61), 'black hijab': v(62, 63),
      },
      body: { 'white collared sweater': v(14, 21), 'white jacket': v(7, 16), 'black jacket': v(8), 'white shirt': v(13, 25), 'white hoodie': v(23) },
    },
    extras: {
      glasses: { chance: 0.25, words: { glasses: v(3), 'square glasses': v(8), 'round glasses': v(11), sunglasses: v(2, 7, 10) } },
      beard: { chance: 0.12, words: { 'black moustache': v(3, 10) } },
    },
    plain: { brows: v(5, 12), eyes: v(4, 5) },
    faces: {
      smile: { lips: v(3, 17, 22, 23) }, 'big smile': { lips: v(8, 14, 25, 30) }, surprised: { lips: v(15) }, serious: { lips: v(21) },
      sad: { lips: v(18, 19), brows: v(6, 13) }, angry: { lips: v(18, 19), brows: v(2) },
    },
    limits: { 'black moustache': ['smile', 'big smile'], sunglasses: ['smile', 'big smile', 'surprised', 'serious'] },
  },
  toonHead: {
    colours: { hair: ['hairColor'], skin: ['skinColor'], cloth: ['clothesColor'] },
    fixed: { rearHairProbability: 0 },
    patch: (svg) => svg.replaceAll(/(<mask [^>]*mask-type:alpha.*?<\/mask>)/g, (mask) => mask.replaceAll('#611519', '#fff').replace('mask-type:alpha', '')), // resvg knows only masks of brightness
    parts: {
      hair: {
        '{hair} short hair': ['sideComed', 'undercut'], '{hair} spiky hair': ['spiky'], '{hair} hair bun': ['bun'], bald: [{ hairProbability: 0 }],
        ...Object.fromEntries(Object.entries({ longStraight: 'long hair', longWavy: 'wavy hair', shoulderHigh: 'medium hair', neckHigh: 'bob cut' })
          .map(([rear, words]) => [`{hair} ${words}`, [{ hair: ['sideComed'], rearHair: [rear], rearHairProbability: 100 }]])),
      },
      clothes: { '{cloth} jacket': ['openJacket'], '{cloth} collared sweater': ['shirt'], '{cloth} shirt': ['tShirt'], '{cloth} dress': ['dress'] },
      eyes: { '': ['happy'], 'closed eyes': ['bow', 'humble'], 'wide eyes': ['wide'], winking: ['wink'] },
    },
    extras: { beard: { chance: 0.15, words: { '{hair} beard': ['fullBeard'], '{hair} long beard': ['longBeard'], '{hair} moustache': ['moustacheTwirl'] } } },
    eyes: 'eyes',
    plain: { eyebrows: ['neutral', 'happy'] },
    faces: {
      smile: { mouth: ['smile'] }, 'big smile': { mouth: ['laugh'] }, sad: { mouth: ['sad'], eyebrows: ['sad'] },
      angry: { mouth: ['angry', 'sad'], eyebrows: ['angry'], eyes: ['happy'] }, surprised: { mouth: ['agape'], eyes: ['wide'] },
    },
  },
  // Never trained on
  adventurer: {
    colours: { hair: ['hairColor'], skin: ['skinColor'] },
    fixed: { earringsProbability: 0 },
    parts: {
      hair: {
        '{hair} short hair': short(1, 2, 4, 10, 11, 14), '{hair} bob cut': long(1), '{hair} long hair': long(9), '{hair} medium hair': long(4, 5), '{hair} bangs': long(7),
        '{hair} braids': long(16), '{hair} pigtails': long(14, 15), '{hair} two buns': long(13, 23), '{hair} hair bun': ['long11', 'short05'], '{hair} ponytail': long(19),
        '{hair} wavy hair': long(6, 17, 22), '{hair} curly hair': short(3, 17), '{hair} spiky hair': short(16), '{hair} mohawk': short(15), bald: [{ hairProbability: 0 }],
      },
      eyes: { '': v(3, 24, 26), 'closed eyes': v(19, 20), winking: v(21, 22) },
    },
    extras: {
      glasses: { chance: 0.25, words: { sunglasses: v(1), glasses: v(2, 5), 'round glasses': v(4) } },
      features: { chance: 0.1, words: { 'black moustache': ['mustache'] } },
    },
    eyes: 'eyes',
    plain: { eyebrows: v(10, 12, 14) },
    faces: {
      smile: { mouth: v(2) }, 'big smile': { mouth: v(1, 22, 23, 25, 26, 27, 28) }, serious: { mouth: v(9) }, sad: { mouth: v(4) }, 'tongue out': { mouth: v(16) },
      screaming: { mouth: v(15) }, angry: { mouth: v(9, 14), eyebrows: v(1, 2), eyes: v(3, 24, 26) },
    },
    limits: { sunglasses: ['smile', 'big smile', 'serious', 'sad', 'tongue out', 'screaming'] },
  },
  micah: {
    colours: { hair: ['hairColor', 'facialHairColor'], skin: ['baseColor'], cloth: ['shirtColor'], glass: ['glassesColor'] },
    fixed: { earringsProbability: 0 },
    parts: {
      hair: { '{hair} short hair': ['fonze'], '{hair} wavy hair': ['full'], bald: ['mrClean'], '{hair} mohawk': ['mrT'], '{hair} medium hair': ['pixie'], '{hat} turban': [({ hat }) => ({ hair: ['turban'], hairColor: [hat] })] },
      shirt: { '{cloth} shirt': ['open', 'crew', 'collared'] },
      eyes: { '': ['eyes', 'round'], 'closed eyes': ['smiling'] },
    },
    extras: {
      glasses: { chance: 0.3, words: { '{glass}round glasses': ['round'], '{glass}square glasses': ['square'] } },
      facialHair: { chance: 0.15, words: { '{hair} beard': ['beard'] } },
    },
    eyes: 'eyes',
    plain: { eyebrows: ['up'] },
    faces: { smile: { mouth: ['smile'] }, 'big smile': { mouth: ['laughing'] }, sad: { mouth: ['sad', 'frown'] }, surprised: { mouth: ['surprised'] } },
  },
  miniavs: {
    colours: { hair: ['hairColor'], skin: ['skinColor'], cloth: ['bodyColor'] },
    fixed: { blushesProbability: 0, mouth: ['default'], eyes: ['normal'] },
    parts: {
      hair: { '{hair} short hair': ['classic01', 'classic02', 'stylish', 'elvis'], '{hair} curly hair': ['curly'], '{hair} long hair': ['long'], '{hair} ponytail': ['ponyTail'], '{hair} balding': ['slaughter'] },
      body: { '{cloth} shirt': ['tShirt', 'golf'] },
    },
    extras: {
      glasses: { chance: 0.25, words: { 'round glasses': ['normal'] } },
      mustache: { chance: 0.15, words: { '{hair} moustache': ['freddy', 'horshoe'] } },
    },
    faces: { 'big smile': {} },
  },
};

export const TRAINED = ['avataaars', 'openPeeps', 'pixelArt', 'personas', 'bigEars', 'bigSmile', 'croodles', 'dylan', 'lorelei', 'notionists', 'toonHead'];
export const HELD_OUT = ['adventurer', 'micah', 'miniavs'];

const SUNGLASSES = /sunglasses$/;
const HEX = { hair: PEOPLE.hair, skin: PEOPLE.skin, cloth: PEOPLE.cloth, hat: PEOPLE.cloth, glass: PEOPLE.glasses };

// Colours that cannot be told from a skin beside them
const ALIKE = {
  dark: { hair: ['brown'] }, brown: { hair: ['auburn'] }, pale: { hair: ['platinum'], glass: ['white'] }, yellow: { cloth: ['yellow'], glass: ['yellow'] },
  tan: {}, light: {},
};

/** A name of each kind of colour: {skin, hair, cloth, hat, glass}; glass is '' for dark frames, of which nothing is said. */
function someColours({ skin: skins, ...palette }, without = {}) {
  const some = (hexes, ...not) => pick(Object.keys(hexes).filter((name) => !not.flat().includes(name)));
  const skin = some(skins, without.skin);
  const names = Object.fromEntries(Object.entries(palette).map(([what, hexes]) => [what, some(hexes, without[what], ALIKE[skin][what])]));
  return { skin, ...names, glass: chance() < 0.4 ? '' : names.glass };
}

const fill = (words, names) => words.replace('{glass}', names.glass && `${names.glass} `).replace(/\{(\w+)\}/g, (_, what) => names[what]);
const asOptions = (option, variant, hexes) => (typeof variant === 'string' ? { [option]: [variant] } : typeof variant === 'function' ? variant(hexes) : variant);

/** [words, variant] of a table {words: variants}; mostly the plain one where there is one. */
function choose(table) {
  const words = '' in table && chance() < PLAIN ? '' : key(table);
  return [words, pick(table[words])];
}

/** The expressions that a style can show with what is already drawn, as {expression: {option: variants}}. */
function visible(style, said, plainEyes) {
  const limits = said.map((words) => style.limits?.[words]).filter(Boolean);
  const faces = {};
  for (const [expression, face] of Object.entries(style.faces)) {
    if (!limits.every((limit) => limit.includes(expression))) continue;
    if (!plainEyes || !face[style.eyes]) faces[expression] = face;
    else {
      const eyes = face[style.eyes].filter((variant) => plainEyes.includes(variant));
      if (eyes.length) faces[expression] = { ...face, [style.eyes]: eyes };
    }
  }
  return faces;
}

/** What is said of the eyes, as an expression draws them. */
const ofEyes = (style, variant) => Object.entries({ ...style.parts[style.eyes], ...style.said }).find(([, variants]) => variants.includes(variant))?.[0] ?? '';

/** Whether facial hair goes with a head: none with a hijab, and black with black where a style has both. */
function fits(style, words, head) {
  if (!/beard|moustache/.test(words)) return true;
  if (head.includes('hijab')) return false;
  return !style.blackAndColoured || words.startsWith('{hair}') === head.startsWith('{hair}');
}

/** The parts that a style draws now and then, as [option, words, variant]; variant is null where it is not drawn. */
function someExtras(style, head) {
  return Object.entries(style.extras ?? {}).map(([option, { chance: share, words }]) => {
    const table = Object.fromEntries(Object.entries(words).filter(([text]) => fits(style, text, head)));
    return [option, ...(chance() < share && Object.keys(table).length ? choose(table) : ['', null])];
  });
}

/** The SVG of options of a DiceBear style. */
export function svgOf(name, options) {
  const svg = createAvatar(collection[name], options).toString();
  return STYLES[name]?.patch?.(svg) ?? svg;
}

/** A person of a style, in colours of palette: {hair, skin, cloth, hat, glass}, each {name: hex}. */
export function person(name, palette = HEX) {
  const style = STYLES[name], names = someColours(palette, style.without);
  const hexes = Object.fromEntries(Object.entries(names).map(([what, name]) => [what, palette[what][name] ?? DARK_GLASSES]));
  const options = { seed: `s${chance()}`, ...style.fixed, ...style.more?.(names) }, said = [];
  for (const [what, taking] of Object.entries(style.colours)) for (const option of taking) options[option] = [hexes[what]];
  const draw = (option, words, variant) => {
    Object.assign(options, asOptions(option, variant, hexes));
    if (words) said.push(words);
  };
  for (const [option, table] of Object.entries(style.parts)) if (option !== style.eyes) draw(option, ...choose(table));
  said.push(...(style.says ?? []));
  for (const [option, words, variant] of someExtras(style, said[0])) {
    options[`${option}Probability`] = variant ? 100 : 0;
    if (variant) draw(option, words, variant);
  }
  const dark = said.some((words) => SUNGLASSES.test(words)) && style.eyes;
  const faces = visible(style, said, dark && style.parts[style.eyes]['']), expression = key(faces), face = { ...style.plain, ...faces[expression] };
  for (const [option, variants] of Object.entries(face)) {
    const variant = pick(variants);
    draw(option, option === style.eyes ? ofEyes(style, variant) : '', variant);
  }
  if (style.eyes && !face[style.eyes]) draw(style.eyes, ...(dark ? ['', pick(style.parts[style.eyes][''])] : choose(style.parts[style.eyes])));
  const tags = said.flatMap((words) => fill(words, names).split(', '));
  if (style.colours.skin) tags.splice(1, 0, `${names.skin} skin`);
  return { svg: svgOf(name, options), cls: 'person', group: 'person', style: name, tags: [...tags, expression] };
}

const ODD = new RegExp(`^(${[...new Set([...Object.keys(PEOPLE.heldout.hair), ...Object.keys(PEOPLE.heldout.cloth)])].join('|')}) `);

/** A person of avataaars with a colour of hair or clothes that no training figure has. */
export function oddPerson() {
  for (;;) {
    const odd = pick(['hair', 'cloth', 'both']);
    const palette = { ...HEX, ...(odd === 'cloth' ? {} : { hair: PEOPLE.heldout.hair }), ...(odd === 'hair' ? {} : { cloth: PEOPLE.heldout.cloth }) };
    const figure = person('avataaars', palette);
    if (figure.tags.some((tag) => ODD.test(tag))) return figure;
  }
}

// -- robots: eyes and mouths that read as a face ------------------------------------------------------------------------
const ROBOT = {
  face: { 'round head': ['round01', 'round02'], 'square head': ['square01'] },
  top: {
    'antenna on top': ['antenna', 'antennaCrooked'], 'bulb on top': ['bulb01', 'glowingBulb01', 'glowingBulb02'], 'horns on top': ['horns'], 'lights on top': ['lights'],
    'pyramid on top': ['pyramid'], 'radar on top': ['radar'],
  },
  eyes: ['bulging', 'eva', 'frame1', 'frame2', 'roundFrame01', 'roundFrame02', 'happy'],
  mouth: ['bite', 'grill03', 'smile01', 'smile02', 'square01', 'square02'],
};

export function robot() {
  const colour = key(PEOPLE.robot), [head, face] = choose(ROBOT.face), [topWords, top] = choose(ROBOT.top);
  const options = {
    seed: `s${chance()}`, baseColor: [PEOPLE.robot[colour]], face: [face], top: [top], eyes: [pick(ROBOT.eyes)], mouth: [pick(ROBOT.mouth)], textureProbability: 0,
  };
  return { svg: svgOf('bottts', options), cls: 'robot', group: 'robot', style: 'bottts', tags: [`${colour} robot`, head, topWords] };
}
