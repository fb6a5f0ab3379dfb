"""The material of the invented people: names, places, trades, things.

Every list was made up for expunge."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(phrase.strip() for phrase in text.replace("\n", " ").split(","))


HER_NAMES = _words("""
    Ilvara Tamsel Oriane Bethune Calwyn Dessima Ennika Fiorel Grethe Halvine Isotta Jorunde Kesmira
    Lunette Morwen Nerisha Odalie Pernelle Quilla Rosmund Sabeth Tirzane Ulrike Veshna
""")
HIS_NAMES = _words("""
    Aldric Borvan Cassel Dorrin Edvik Fenwold Garrick Hesper Ingmund Jethran Kolvar Lucan Merrow Nathim
    Osbern Pavlik Quennel Rodrig Sorley Tavish Ulmar Vasken Wystan Yorick
""")
FAMILY_NAMES = _words("""
    Abernoll Brackwell Chandrel Dunmarrow Eskeland Farrowby Gillanders Hathersoe Iremont Jasperling
    Kettlemoor Lindqvard Marrable Nightwell Oakenshaw Pellatrine Quarrington Rushbourne Silverdane
    Thornquist Umberlake Vantresse Whitlocke Yarborne Zellweg Ashcombre Birkenfell Crowhurstle Drummondale
    Elphinor Fairweld Gravenhurst Hollinrake Inchmarlo Kirkenbrae Loxendale Mossgrave Norringer Ottersley
    Penhallion Ravenscrow Stavenger Tolliverne Underhay Wexenholm Wolstenby Applethwick Dovercott
""")
TOWNS = _words("""
    Tessery Quillhaven Brannock Oulemouth Farthing Sandrell Varnhold Mistley Corrandale Elsmouth Hexwater
    Jarrowmere Kilbrack Lanternford Marshgate Nettlecombe Orlestone Pinderby Ravelsea Saltmarket Thrushby
    Umberton Vexholme Wickersea Yellowham Zennorby Aldermouth Bellwater Cindermoor Dunlarch Eastwold
    Foxhollow Grimsdyke Harrowgate Ivelstoke Kestrelby Larkspire Moonsund Northolm Oxbarrow Pebblesea
    Quernmouth Rookhaven Stonewick Tarnside Undermere Withercliff Wolfsund
""")
LANDMARKS = _phrases("""
    on the river Oule, on Gannet Bay, under Mount Serrel, on the Isle of Dray, beside Lake Immer, in the
    Vale of Tarn, on the Cinder Coast, in the Hollow Hills, by the Great Weir, on the edge of Morrow Fen,
    behind the Long Dunes, in the Amber Forest, above the Kell Gorge, at the Nine Bridges, on the Heron
    Marshes, near the Blue Quarry
""")
MAKINGS = _phrases("""
    builds, restores, designs, repairs, sells, paints, photographs, catalogues, tunes, insures, imports,
    carves
""")
WARES = _phrases("""
    church bells, tower clocks, river barges, glass eyes, accordions, weather vanes, lighthouses,
    umbrellas, mosaics, puppets, fishing nets, sundials, chess sets, telescopes, kites, violins, cable
    cars, globes, music boxes, windmills, carousels, paper lanterns, snow globes, rowing boats,
    tapestries, pipe organs, beehives, dolls' houses, saddles, fountain pens, stained glass, typewriters,
    compasses, drums, wedding hats, harpsichords, ice skates, mirrors, bridges, tin soldiers, fireworks,
    candlesticks, postage stamps, wooden spoons, hot-air balloons, sleighs, garden mazes, signet rings
""")
PARENTS_JOBS = _phrases("""
    baker, surgeon, tram driver, beekeeper, judge, welder, florist, midwife, glazier, shepherd, dentist,
    miner, librarian, cobbler, pilot, tailor, ferryman, botanist, plumber, cellist, locksmith, chemist,
    gardener, printer, notary, cook, roofer, sculptor, butcher, weaver, geologist, postman, vet, brewer,
    carpenter, teacher
""")
WORK_KINDS = _phrases("""
    the novel, the opera, the memoir, the ballet, the film, the radio play, the poem, the musical
""")
WORK_QUALITIES = _words("""
    Salt Hollow Crimson Paper Midnight Silent Borrowed Frozen Golden Crooked Drowned Ivory Restless Velvet
    Wandering Broken Copper Distant Emerald Forgetful Gentle Hidden Iron Jagged
""")
WORK_THINGS = _words("""
    Orchard Staircase Harbour Sparrow Testament Compass Winter Cathedral Puppeteer Fountain Ledger Mirror
    Passenger Quarry Regatta Shadow Telegraph Uncle Voyage Window Almanac Bridge Carnival Daughter
""")
AWARD_QUALITIES = _words("""
    Amber Bronze Cobalt Diamond Ebony Falcon Granite Hazel Indigo Jade Lotus Marble Nickel Opal Pearl
    Quartz
""")
AWARD_THINGS = _words("""
    Lantern Medal Feather Crown Anchor Key Laurel Quill Shield Wheel Arrow Goblet Star Thimble Rose Hammer
""")
TEACHERS = _words("""
    Odo Marget Bram Sunniva Lothar Petronel Anselm Gisela Matthis Ottilie Ruben Zenobia Hugo Clemency
    Viggo Tabitha Ambrose Leonie Jasper Wilhelmina
""")
TEACHERS_FAMILIES = _words("""
    Marlen Kroft Tannahill Sedgewyn Bellamor Osterby Pruitt Valcourt Hargrim Lisle Mendrake Copperwaite
    Duskin Faulke Greel Holmsted Ibbotsen Jurgens Kaldwell Larrimer
""")
KEEPSAKES_QUALITIES = _words("""
    antique chipped foreign miniature painted rusty striped wooden tin blue clockwork woollen porcelain
    silver square pocket
""")
KEEPSAKES = _phrases("""
    tram tickets, door knobs, teapots, matchboxes, thimbles, bird whistles, spoons, ink bottles, buttons,
    padlocks, postcards, corkscrews, walking sticks, marbles, egg cups, maps, lampshades, coat hooks,
    dice, bookmarks, sea shells, snuff boxes, kettles, railway signs, playing cards, hour glasses, sugar
    tongs, tea towels, hat pins, bicycle bells, stamps, pencils
""")
MONTHS = _words("January February March April May June July August September October November December")
