// Reads what is dropped, chosen, pasted or photographed, and sends it with the event 'pictures'.
const zone = element.querySelector('.zone')
const input = element.querySelector('input'), target = element.querySelector('.target')
const said = element.querySelector('.said'), dialog = element.querySelector('dialog')
const video = element.querySelector('video')
const most = MAX_BYTES
const say = text => { said.textContent = text }

const encode = file => new Promise((resolve, reject) => {
  const reader = new FileReader()
  reader.onload = () => resolve({ name: file.name || 'pasted picture', base64: reader.result.slice(reader.result.indexOf(',') + 1) })
  reader.onerror = () => reject(reader.error)
  reader.readAsDataURL(file)
})

async function send(list) {
  const files = [...list], small = files.filter(file => file.size * 1 <= most)
  const large = files.filter(file => file.size > most)
  say(large.map(file => `${file.name} has ${file.size.toLocaleString('en')} bytes; at most ${most.toLocaleString('en')} are accepted. Save a smaller copy of it.`).join(' '))
  let group = [], bytes = 0
  for (const file of small) {
    if (bytes + file.size > most) { trigger('pictures', { files: group }); group = []; bytes = 0 }
    try { group.push(await encode(file)); bytes += file.size } catch { say(`${file.name} cannot be read. Choose it again.`) }
  }
  if (group.length) trigger('pictures', { files: group })
}

input.addEventListener('change', async () => { await send(input.files); input.value = '' })
for (const name of ['dragover', 'dragenter']) zone.addEventListener(name, event => { event.preventDefault(); target.classList.add('over') })
for (const name of ['dragleave', 'drop']) zone.addEventListener(name, () => target.classList.remove('over'))
zone.addEventListener('drop', event => { event.preventDefault(); send(event.dataTransfer.files) })
document.addEventListener('paste', event => { if (event.clipboardData.files.length) send(event.clipboardData.files) })

let stream
const stop = () => { stream?.getTracks().forEach(track => track.stop()); stream = undefined }
element.querySelector('.camera').addEventListener('click', async () => {
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: 'environment' } })
  } catch {
    say('The browser gives no camera to this page. Allow it, or choose a picture.')
    return
  }
  video.srcObject = stream
  dialog.showModal()
})
element.querySelector('.close').addEventListener('click', () => dialog.close())
dialog.addEventListener('close', stop)
element.querySelector('.shoot').addEventListener('click', () => {
  const canvas = document.createElement('canvas')
  canvas.width = video.videoWidth; canvas.height = video.videoHeight
  canvas.getContext('2d').drawImage(video, 0, 0)
  canvas.toBlob(blob => { dialog.close(); send([new File([blob], 'photograph.jpg', { type: 'image/jpeg' })]) }, 'image/jpeg', 0.95)
})
