"""Words of the taggers' vocabulary by what they are about: tables only, written by hand; `kinds` reads them.

A line is `kind: word, word`; a line that is indented goes on with the one before.
"""

from __future__ import annotations

from typing import Final

# The last word of a tag says what it is about: a `ring light` is a light.
WORDS: Final = """
hair: hair hairs bangs ponytail twintails ahoge braid braids bun sidelocks bob hairstyle dreadlocks afro
    drills fringe pigtails mohawk undercut widow's peak cut updo ringlets cornrows topknot sideburns
    forelocks forelock mullet quiff buns okappa chonmage strand strands pompadour
eyes: eyes pupils sclera eyelashes pupil eye
body: skin breasts ears tail wings horns horn freckles mole scar scars fangs fang tan tattoo beard
    mustache eyebrows muscular abs stubble thighs halo elf height antlers feathers fur wing girl boy
    woman man female male skinned loli shota petite tall robot android cyborg makeup eyeshadow nails
    eyeliner fingernails bald goatee polish fluff prosthesis navel collarbone cleavage
    mechanical prosthetic mark marks marking markings tails hips claws claw hooves jewel
    stitches chest bust pubic hump biceps complexion fingernail toenails mane whiskers snout muzzle beak
    arm fin fins gills elves oni dimples bindi heterochromatic toned pecs eyelid ribs acne pectorals
    bara nose antennae tusks tusk scales feet foot armpits armpit cyclops conjoined centaur lamia
    mermaid vampire werewolf angel demon fairy goblin orc harpy kitsune shoulders forehead
    zombie jiangshi skeleton alien nekomata kyuubi taur furry draph erune albino plump curvy skinny fat
    minigirl miniboy giant giantess child baby waist mascara facepaint bodypaint talons eyelids
    tomboy bishounen gyaru kogal
clothes: shirt dress jacket sweater hoodie skirt pants shorts serafuku kimono uniform coat socks shoes
    boots thighhighs pantyhose gloves swimsuit bikini leotard apron vest cardigan blouse jeans suit cape
    cloak robe yukata armor sleeves sleeve collar bra panties underwear footwear sandals sneakers
    legwear kneehighs t-shirt top tops bodysuit turtleneck sleeveless clothes belt loafers heels china
    overalls sarashi outfit costume poncho warmers guards trim frills lace midriff plaid zettai barefoot
    cuffs gauntlets shawl hakama buruma garter straps uniforms camisole strap obi sash tabard bottom
    janes buttons button pocket pockets zipper bodystocking haori corset bustier negligee nightgown
    pajamas blazer raincoat overcoat slippers geta breastplate pauldrons pauldron greaves vambraces
    kneepads fundoshi loincloth capelet shrug mittens romper dirndl suspenders cutout cutouts wetsuit
    sundress gown lingerie thong briefs boxers jumpsuit tunic toga sari cheongsam hanbok tangzhuang
    jersey tracksuit windbreaker parka coattails petticoat crinoline bloomers sweatshirt sweatpants
    sweatshorts leggings tights thighhigh kneehigh sock shoe boot glove gauntlet sandal heel loafer
    clogs zouri waraji tabi faulds halterneck epaulettes epaulette aiguillette overskirt miniskirt
    microskirt skirts shirts dresses jackets pant short garterbelt brassiere undershirt innerwear fabric
    drawstring lapels lapel hem button-up neckline bikinis swimwear rash-guard chemise babydoll
    undersuit exosuit plugsuit robes vestments habit cassock surcoat gi keikogi jinbaori cloth print
    stripes camouflage pasties tassels fishnets ruffles shoelaces laces soles overhang labcoat waistcoat
    spacesuit tuxedo pumps flip-flops okobo trunks dougi happi furisode obijime obiage muneate vent
    chainmail latex cutoffs unitard neck shirtless gakuran miko nun kunoichi witch knight police
    policewoman waitress waiter cheerleader ninja pirate bride soldier butler kannushi samurai superhero
    sarong bandeau sportswear sleepwear uwabaki kariginu kote ruff hagoromo bracer bracers thighlet
    lolita denim argyle lowleg
accessory: hat glasses bow necklace headphones ribbon hairpin hairband hairclip scarf earrings choker
    necktie bowtie ornament jewelry bracelet ring eyepatch mask headband tiara crown eyewear sunglasses
    headwear beret cap helmet bag backpack watch piercing goggles scrunchie flower brooch pendant veil
    hood monocle headset amulet wreath headgear pin piercings anklet necklaces bracelets rings headdress
    neckerchief ascot wristband wristbands wristwatch bell bells circlet hairpods handbag satchel
    holster lanyard badge armband earphones kanzashi cross turban bandana headscarf protector hachimaki
    sweatband rosary gem gemstone pouch bangle bangles armlet armlets medal medallion locket beads bead
    earmuffs randoseru corsage boutonniere fascinator barrette diadem coronet hairclips bows ribbons
    hats caps scarves ties collars earring earpiece covers bobbles tubes wreaths laurel lei tag tags
    pocketwatch eyeglasses visor shades respirator blindfold muffler pads pompom pom-pom charm emblem
    insignia cufflinks buckle buckles spikes studs fedora deerstalker tricorne kepi boa tassel beanie
    bonnet headpiece nightcap earclip earbuds pince-nez eboshi bespectacled harness
expression: smile frown blush grin tears crying angry sad happy surprised smirk pout open-mouth mouth
    tongue teeth laughing expression expressionless sweatdrop shy nervous sleepy embarrassed :d :o ;d :3
    >:) ^_^ >_< @_@ ^^ o_o smiling sweat drool closed smug serious shaded worried drooling ahegao vein
    yawning wince torogao cheeks sweatdrops brow scared bored annoyed determined disgust screaming lips
    trembling grimace scowl glare glaring nosebleed flustered despair frustrated confused panicking gasp
    gasping pain evil lonely proud relieved excited disappointed depressed hungry sobbing giggling sneer
    wink d: xd :p :q ;p ;q ;) :) :( :< :> :t :/ :| >:( >:d >:3 :i :x =3 c: ;o ._. doyagao horrified
framing: portrait view shot body close-up focus angle pov perspective split-screen cowboy wide
background: background outdoors indoors forest beach city sky night day sunset ocean sea water street
    classroom bedroom room window tree trees flowers grass snow mountain mountains building buildings
    cloud clouds sunlight moon stars rain cityscape park garden field bed chair desk table wall fence
    road stage crowd interior lights pool couch sofa pillow pillows blanket curtain curtains floor
    ceiling door doorway stairs bridge railing balcony rooftop shelf bookshelf lamp lantern lamppost
    blossoms petals leaf leaves plant plants bush bamboo vines ivy roots rock rocks stone cliff cave
    river lake waterfall pond desert island shore horizon path bench swing tent house castle church
    shrine temple torii ruins tower skyscraper skyline village town alley street sidewalk crosswalk
    station hallway corridor kitchen bathroom bathtub shower onsen library office shop store restaurant
    cafe bar school gym hospital arena fireworks rainbow fog mist smoke star starry sparkle snowflakes
    snowing raining confetti architecture scenery landscape tatami carpet rug sunrise dusk dawn evening
    twilight pole streetlamp shade wind light sun sunbeam space planet underwater spring poolside puddle
    pad pillar pillars arch chandelier fireplace winter summer autumn lightning aurora constellation
    place chalkboard blackboard locker lockers spotlight neon cliffs footprints sand wave waves morning
    throne rays ray particles paddy web hills hill valley canyon meadow farm greenhouse fountain arcade
    amusement bleachers beachside seaside riverbank riverside countryside suburb backyard courtyard
    terrace porch veranda engawa shouji fusuma kotatsu pier dock harbor lighthouse windmill mill
    aquarium museum observatory dungeon basement attic closet wardrobe bookcase cabinet drawer counter
    sink oven stove refrigerator windowsill blinds vase graveyard tombstone grave cemetery cobblestone
    pavement gravel dirt soil mud ice icicle icicles glacier iceberg volcano lava jungle savanna oasis
    dune dunes reef coral seaweed shell seashell driftwood log stump branch branches twig maple pine
    willow wisteria hydrangea sunflower tulip lavender reeds moss mushroom clover overgrown sunshine
    moonlight starlight spotlights lampshade streetlight headlight cumulonimbus overcast contrail
    eclipse galaxy nebula comet meteor earth wallpaper mountainside blizzard storm thunder hail drizzle
    dust tiles wood futon armchair stool dandelion rose roses hibiscus camellia lily lilies lotus daisy
    daisies tracks stop lot billboard storefront market festival pagoda canal foliage nature rubble
    elevator escalator infirmary concert thicket hedge lawn flowerbed orchard vineyard plaza airport
    highway tunnel
style: monochrome sketch greyscale lineart painting watercolor style comic 4koma chibi pixel render
    photo illustration cel-shading realistic art traditional colors theme outline halftone
    photorealistic artstyle (style) (medium) (artwork) media impasto coloring palette shading views
    blurry bokeh blur contrast grain flare aberration artifacts screentones border letterboxed
    pillarboxed cover collage reference spread-page hatching crosshatching brushstrokes pastel ukiyo-e
    pointillism surreal abstract minimalism colorful lighting backlighting exposure speedlines lines 3d
    oekaki sepia color vignetting life cg blending painterly impressionism silhouette screenshot jaggies
    unfinished realism anime manga cartoon doodle album frame dithering glitch distortion grayscale
    tones tone fanart shikishi crayon gouache acrylic ink graphite charcoal woodblock engraving mosaic
    trace framed grid claire superflat bloom
thing: food cake bread fruit apple banana orange strawberry cherry lemon peach watermelon grapes meat
    sushi rice noodles ramen soup egg eggs bento sandwich burger pizza candy lollipop chocolate cookie
    cookies donut pastry popsicle cream tea coffee milk juice drink beer wine sake alcohol cup mug glass
    bottle can teacup teapot kettle plate bowl spoon fork knife chopsticks tray bicycle bike motorcycle
    car truck bus train tram boat ship aircraft airplane helicopter vehicle tank spacecraft scooter
    skateboard wheel cat dog bird birds fish horse rabbit bunny mouse bear fox wolf dragon snake frog
    butterfly insect bee spider owl crow penguin chicken duck cow pig sheep lion tiger elephant monkey
    panda dolphin whale shark octopus crab jellyfish turtle dinosaur animal animals creature pokemon
    sword katana gun rifle handgun pistol weapon polearm spear axe arrow arrows shield staff wand hammer
    scythe dagger whip bomb guitar piano violin drum drums flute trumpet microphone instrument book
    books pen pencil paper letter card cards box gift bucket broom rope chain ladder basket bouquet
    phone smartphone cellphone computer laptop keyboard monitor television camera clock controller
    console toy doll ball balloon balloons kite dice puppet plush figurine umbrella parasol stick cane
    fan candle cigarette pipe mirror towel tissue sign flag banner poster money coin key scissors
    syringe pill skull bone statue cushion furniture hourglass telescope binoculars map globe sheath
    quiver envelope paintbrush pc pepper slime racket bat rod kunai shuriken newspaper scroll onigiri
    hamburger doughnut suitcase megaphone revolver pitchfork beachball notebook clipboard calculator
    slice carrot tomato carton soda pocky taiyaki spaceship wheelchair bees goldfish tube flask
    magnifier anchor comb cleaver ladle pan tarot tile radio plushie sabre saber rapier cutlass
    greatsword claymore tachi naginata halberd trident lance mace flail nunchaku sickle cannon bazooka
    launcher grenade bullet missile ammunition crossbow firearm shotgun machete chainsaw drill wrench
    screwdriver saw shovel rake hoe typewriter printer projector speaker amplifier turntable cassette
    vinyl cd dvd tablet ipad webcam drone telephone payphone harp lute lyre cello ukulele banjo
    harmonica accordion saxophone clarinet trombone tambourine bassoon keytar koto shamisen erhu biwa
    ocarina recorder steak bacon sausage ham shrimp lobster curry pasta spaghetti udon soba takoyaki
    okonomiyaki yakitori tempura dango mochi daifuku dorayaki parfait sundae pudding jelly jam honey
    syrup butter cheese yogurt pancake pancakes waffle croissant toast baguette pretzel crepe muffin
    cupcake macaron pie tart brownie biscuit cracker chips popcorn fries taco burrito salad lettuce
    cabbage onion garlic potato corn pumpkin eggplant cucumber radish turnip bean beans tofu nut acorn
    chestnut walnut kiwi mango melon pineapple coconut pear plum raspberry blueberry lime grapefruit
    tangerine mandarin vegetable vegetables berry berries snack lunchbox thermos jar jug pitcher barrel
    crate cage birdcage lighter match matches ashtray flashlight torch hat-stand luggage briefcase
    trophy certificate calendar diary letterbox mailbox postcard photograph stamp sticker puzzle
    marionette lego yo-yo spinning-top pinwheel hula-hoop frisbee surfboard snowboard skis sled
    innertube snorkel paddle oar barbell dumbbell javelin bowling pool-cue dart golf club tricycle
    carriage wagon cart submarine yacht canoe kayak jet rocket ufo bulldozer tractor ambulance taxi
    kitten puppy hamster squirrel hedgehog deer goat donkey camel giraffe zebra hippo rhinoceros
    kangaroo koala sloth otter seal walrus raccoon tanuki badger weasel ferret beaver rat lizard gecko
    crocodile alligator hawk eagle falcon vulture parrot sparrow pigeon dove swan goose rooster chick
    turkey peacock flamingo pelican seagull stork crane ostrich woodpecker hummingbird robin magpie
    raven ladybug beetle ant grasshopper cricket cicada dragonfly moth caterpillar scorpion snail slug
    worm squid clam oyster starfish urchin eel salmon tuna carp koi tadpole salamander newt axolotl
    unicorn pegasus phoenix griffin hydra mecha longsword scabbard casing scope lightsaber bokken shinai
    landmine padlock compass candlestand matchbox thermometer soap sponge pacifier rattle kendama
    volleyball basketball football baseball shuttlecock moped jeep sailboat rowboat gear gears pickaxe
    hose omelet sashimi dumpling dumplings baozi saucer kiseru hookah chess shogi cube case drumsticks
    tape walkie-talkie cable control
other: heart effects text notes note symbol emphasis flames blood steam sound aura energy magic
    electricity reflection removed halloween christmas valentine comparison barcode ghost persona zodiac
    glowing difference string fire flame bubble bubbles shadow bandages bandage bandaid bandaids cuts
    bruise bruises injury
"""

# Tags whose words mislead.
WHOLE: Final = """
expression: closed eyes, one eye closed, half-closed eyes, wide-eyed, open mouth, closed mouth, parted
    lips, tongue out, furrowed brow, blush stickers, v-shaped eyebrows, raised eyebrow, raised eyebrows,
    upper teeth only, lower teeth only, anger vein, naughty face, shaded face, tearing up, sparkling
    eyes, crazy eyes, rolling eyes, licking lips, biting own lip, streaming tears, averted eyes, nervous
    smile, constricted pupils, puffed cheeks, puckered lips, pursed lips, flying sweatdrops, crying with
    eyes open, dot mouth, wavy eyes, clenched teeth, covered eyes, fucked silly, hungry, crazy smile,
    sweat
pose: looking at viewer, wariza, seiza, yokozuwari, indian style, all fours, contrapposto, thumbs up,
    thumbs down, eye contact, shushing, arched back, princess carry, piggyback, selfie, midair, tiptoes,
    headpat, upside-down, back-to-back, cheek-to-cheek, bound, bound wrists, fetal position, plantar
    flexion, w, ok sign, middle finger, beckoning, heart hands, paw pose, cat pose, claw pose, dynamic
    pose, fighting stance, battoujutsu stance, interlocked fingers, finger gun, index finger raised,
    pinky out, knees together feet apart, legs apart, feet together, feet up, knees up, knees to chest,
    tail raised, tail wagging, lap pillow, on lap, figure four sitting, top-down bottom-up, folded, hair
    flip, wind lift, strap slip, finger frame, finger heart, crossed ankles, crossed fingers,
    undressing, straddling, wading, lifted by self, drawing sword, drawing bow, playing instrument,
    playing games, facing another, tail grab, clenched hands, clenched hand, open hand, toe-point, high
    kick, split, breasts apart, breasts on table, breasts on glass, breasts on head, ears down, foot up,
    heel up, handstand, cartwheel, one knee, knee up, invisible chair, mimikaki, kabedon, face-to-face,
    double thumbs up, raised fist, palms together, armpit peek
framing: full body, upper body, lower body, cowboy shot, dutch angle, from above, from below, from side,
    from behind, profile, depth of field, foreshortening, fisheye, head out of frame, feet out of frame,
    out of frame, straight-on, partially visible, cropped legs, cropped torso, cropped shoulders,
    cropped arms, cropped head, from outside, from inside, eye level, ass focus, back focus, breast
    focus, pov hands, panorama, zoom layer, wide shot, very wide shot, split screen, vanishing point,
    atmospheric perspective, group picture, leg focus, rotated, sideways, foot focus, hand focus, feet
    focus
accessory: hair ornament, hair ribbon, hair bow, hair flower, hair bobbles, cat ears, dog tags, hair
    stick, hair tubes, hair bell, ear covers, mini crown, jingle bell, headphones around neck, goggles
    on head, mask on head, eyewear on head, eyewear on headwear, sunglasses on head, hat on back, fake
    animal ears, fake tail, belt pouch, laurel crown, fur hat, wedding ring, ear piercing, hair beads,
    bead necklace, bead bracelet, tail ornament, gold chain, pocket watch, belt bag, fanny pack, id
    card, cross necklace, diving mask, cat ear headphones
hair: one side up, two side up, three side up, hair between eyes, hair over one eye, hair intakes, hair
    bun, double bun, hair pulled back, hair slicked back, hair down, hair up, hair spread out, heart
    ahoge, hair flaps, alternate hairstyle, short hair with long locks, bowl cut, shaved head, comb over
eyes: heterochromia, tsurime, tareme, sanpaku, jitome, eye color, third eye
clothes: bare shoulders, bare arms, bare legs, off shoulder, striped, maid, nurse, playboy bunny, office
    lady, race queen, skirt set, double-breasted, shrug (clothing), highleg, side slit, zettai ryouiki,
    cleavage cutout, midriff peek, hand warmers, leg warmers, tube top, tank top, halter top, lace trim,
    coat on shoulders, jacket on shoulders, jacket around waist, sweater around waist, underbust,
    swimsuit under clothes, school uniform, wide sleeves, puffy sleeves, sleeveless, strapless, backless
    outfit, o-ring, criss-cross halter, bikini top only, shorts under skirt, clothes writing, pelvic
    curtain, sling bikini, underboob cutout
body: dark skin, makeup, lipstick, elf, facial hair, chest hair, leg hair, armpit hair, pubic hair, body
    fur, body hair, extra arms, extra eyes, extra faces, flat chest, wide hips, third arm, tail fin,
    dark-skinned female, dark-skinned male, mature female, mature male, cat girl, fox girl, dog girl,
    wolf girl, rabbit girl, horse girl, dragon girl, cow girl, monster girl, demon girl, magical girl,
    old woman, old man, hair fur, arm tattoo, forked tongue, long tongue, body markings, facial mark,
    cleft chin, stitched face, webbed feet, bare feet, fang out, fangs out
style: black and white picture, flat color, spot color, partially colored, multiple views, film grain,
    still life, game cg, 1990s (style), blurry background, blurry foreground, motion blur, emphasis
    lines, speed lines, scan lines, vhs artifacts, fake screenshot, no lineart, muted color, limited
    palette, dark theme, blue theme, official style, sparse coloring, anime coloring, pixel art, cel
    shading, faux traditional media, white border, black border, color guide, sepia, cover, promotional
    art, concept art, character sheet, reference sheet, diffraction spikes, ligne claire, color trace
thing: stuffed toy, stuffed animal, teddy bear, ice cream, hot dog, hand fan, hand mirror, walking
    stick, drinking glass, drinking straw, arm cannon, reading material, tablet pc, bell pepper, stuffed
    rabbit, cake slice, fried egg, handheld game console, game controller, baseball bat, fishing rod,
    crystal ball, motor vehicle, test tube, magnifying glass, alarm clock, plastic bag, paper bag,
    shopping bag, trash can, playing card, chess piece, mahjong tile, wine glass, cocktail glass, water
    bottle, watering can, folding fan, paper fan, stuffed cat, stuffed bear, whipped cream, soft serve,
    hair dryer, hairbrush, toothbrush, lipstick tube, perfume bottle, ofuda, gohei, ball and chain,
    beach umbrella, oil-paper umbrella, sleeping bag, throwing knife, blood bag, hula hoop, spinning
    top, swim ring, chocolate bar, smoking pipe, puzzle piece, guitar case, record, charging cable,
    tarot (medium), body pillow, remote control
background: stained glass, hot spring, spring (season), power lines, road sign, street sign, rice paddy,
    spider web, lily pad, christmas tree, neon lights, city lights, stage lights, string lights, light
    particles, light rays, ring light, mountainous horizon, vending machine, utility pole, telephone
    pole, traffic light, traffic cone, starry background, floral background, falling leaves, falling
    petals, shooting star, full moon, crescent moon, red moon, cherry tree, bed sheet, checkered floor,
    tile floor, rose garden, ferris wheel, fire hydrant, park bench, potted plant, wooden fence,
    chain-link fence, iron bars, shower (place), stadium, sunflower field, flower field, rose petals,
    water drop, brick wall, bookshelf, parking lot, spider lily, water wheel
other: star (symbol), size difference, completely nude, speech bubble, thought bubble, dual persona,
    spoken heart, spoken ellipsis, musical note, heart of string, new year, topless, nude, bottomless,
    topless male, wet clothes, clothes down, naked bandage, bare hips, bare back, age difference, height
    difference, alternate costume, exclamation mark, question mark, quotation mark, check mark
"""
